"""Which fine-tuning methods go into which hosts, as a table."""

import copy
import importlib.util
from collections.abc import Callable
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import nn

from ..models.backbones.variants import VARIANTS
from ..peft import apply_peft, build_method, what_is_missing
from ..registry import MODELS, PEFT

Hosts = dict[str, Callable[[], nn.Module]]


def known_hosts() -> Hosts:
    """What makes the hosts that are known by themselves, an encoder of each class and patch size
    among them; Hugging Face's only where ``transformers`` is installed."""
    found = bool(importlib.util.find_spec('transformers'))
    hosts: Hosts = {}
    for variant in VARIANTS.values():
        kind = variant.backbone['type']
        if found or kind != 'HFViT':
            title = f'{kind} ({variant.words.partition(" ")[0]})' if kind == 'HFViT' else kind
            hosts.setdefault(title, partial(MODELS.build, dict(variant.backbone)))
    hosts = dict(sorted(hosts.items(), key=lambda item: (item[0] != 'SAMViT', item[0])))
    hosts |= {
        "SAM's mask decoder": lambda: TwoWayTransformer(
            depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048
        ),
        "segment-anything's ImageEncoderViT": lambda: ImageEncoderViT(
            depth=2, embed_dim=192, num_heads=3
        ),
    }
    if found:
        hosts["Hugging Face's SamVisionEncoder"] = _hugging_face
    return hosts


def _hugging_face() -> nn.Module:
    from transformers import SamVisionConfig
    from transformers.models.sam.modeling_sam import SamVisionEncoder

    return SamVisionEncoder(
        SamVisionConfig(num_hidden_layers=2, hidden_size=192, num_attention_heads=3)
    )


def hosts_of(cfg: dict) -> Hosts:
    """What makes the hosts of a model's config: its backbone, and what a method adapts in its
    decode head."""
    backbone = {**cfg['backbone'], 'peft': None, 'unfreeze': ()}
    hosts: Hosts = {backbone['type']: lambda: MODELS.build(backbone)}
    head = MODELS.get(cfg['decode_head']['type'])
    if hasattr(head, 'peft_host'):
        hosts[head.__name__] = lambda: MODELS.build(
            {**cfg['decode_head'], 'peft': None}
        ).get_submodule(head.peft_host)
    return hosts


def reason(name: str, host: nn.Module) -> str:
    """Why a method, with its default arguments, does not go into a host, which stays as it is; ''
    where it does."""
    try:
        method = build_method(dict(type=name))
        if missing := what_is_missing(method, host):
            return f'needs {missing}'
        with torch.device('meta'):
            apply_peft(copy.deepcopy(host), method)
    except (ImportError, ValueError) as error:
        return str(error)
    return ''


def method_table(hosts: Hosts) -> str:
    """Markdown: a row for every registered method, a column for every host."""
    with torch.device('meta'):
        made = [make() for make in hosts.values()]
    lines = [f'| method | {" | ".join(hosts)} |', f'|---{"|---" * len(hosts)}|']
    for name in sorted(PEFT.module_dict):
        cells = [reason(name, host) or 'works' for host in made]
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join(lines)
