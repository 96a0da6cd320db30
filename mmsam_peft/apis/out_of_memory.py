"""What to do where memory does not suffice, said at the end of the error."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .tool_paths import tool

WORDS = re.compile(
    r'out of memory|not enough memory|can.t allocate memory|cannot allocate memory|alloc_failed',
    re.IGNORECASE,
)
"""How PyTorch, CUDA and the system say it in errors that have no class of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and WORDS.search(str(error)) is not None


@contextmanager
def advice_on_memory(config: str, amp: bool = False) -> Iterator[None]:
    """An error for lack of memory ends with the command that says what fits.

    Args:
        config: How the user names the config that is trained.
        amp: Whether it is trained in mixed precision.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            error.args = (f'{error}\n\n{advice(config, amp)}',)
        raise


def advice(config: str, amp: bool = False) -> str:
    memory = '8G'
    if torch.cuda.is_available():
        memory = f'{torch.cuda.get_device_properties(0).total_memory / 1e9:.1f}G'
    precision = ['--amp'] if amp else []
    arguments = shlex.join([config, '--memory', memory, *precision])
    return (
        'Memory did not suffice. What fits, and the command that trains it, is counted in a '
        f'minute by:\n{tool("analysis_tools/fit.py")} {arguments}\n'
        'It looks at smaller batches, model.backbone.checkpointing=True, '
        'model.backbone.base_dtype=bfloat16, updates of the last blocks and the feature cache. A '
        'number of less memory than the device has leaves room for what else runs there.'
    )
