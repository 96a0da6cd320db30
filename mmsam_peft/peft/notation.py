"""A fine-tuning method as text: ``LoRA(rank=8)``."""

import ast
import hashlib
import json
import re


def parse_method(text: str) -> dict:
    """``LoRA(rank=8, blocks="last:4")`` as ``dict(type='LoRA', rank=8, blocks='last:4')``; nothing
    is evaluated.

    Raises:
        ValueError: Neither a name nor a call of one with keyword arguments that are literals.
    """
    try:
        node = ast.parse(text.strip(), mode='eval').body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        names = [keyword.arg for keyword in call.keywords]
        if not isinstance(call.func, ast.Name) or call.args or len(set(names)) < len(names):
            raise ValueError
        peft = dict(
            type=call.func.id,
            **{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords},
        )
        json.dumps(peft)  # it goes into JSON files: no sets, no bytes
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(
            f'got {text!r}, expected a method (LoRA), a call of one with literal keyword arguments '
            '(\'LoRA(rank=8, blocks="last:4")\'), or a config file (configs/full/kvasir.py).'
        ) from None
    return peft


def label(method: str) -> str:
    """A name for files; different methods have different names. ``LoRA(rank=8)``: ``LoRA_rank=8-``
    and six hex digits."""
    readable = re.sub(r'[^\w.=-]+', '_', method.removesuffix('.py'), flags=re.ASCII).strip('_.')[
        -60:
    ]
    digest = hashlib.sha256(method.encode()).hexdigest()[:6]
    return method if method.isidentifier() and method.isascii() else f'{readable}-{digest}'
