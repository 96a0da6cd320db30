"""What to do where memory does not suffice, said at the end of the error."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch

from .tool_paths import tool

WORDS = re.compile(
    r'out of memory|not enough memory|can.t allocate memory|cannot allocate memory'
    r'|unable to allocate|alloc_failed',
    re.IGNORECASE,
)
"""How PyTorch, CUDA, NumPy and the system say it in errors that have no class of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and WORDS.search(str(error)) is not None


@contextmanager
def advice_on_memory(configs: Sequence[str], amp: bool = False) -> Iterator[None]:
    """An error for lack of memory ends with the command that says what fits.

    Args:
        configs: Names of the config that is trained, of which the first that is there by then is
            taken, else the last.
        amp: Whether it is trained in mixed precision.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        config = next(filter(os.path.exists, configs), configs[-1])
        text = f'{error}\n\n{advice(config, amp)}'
        error.args = (text,)
        if str(error) != text:  # NumPy's says what it wants
            raise MemoryError(text) from error
        raise


def advice(config: str, amp: bool = False) -> str:
    memory, gpu = '8G', torch.cuda.is_available()
    with suppress(Exception):  # after an error, a device may answer nothing
        memory = f'{(_of_gpu() if gpu else _of_machine()) / 1e9:.1f}G'
    arguments = [config, '--memory', memory]
    arguments += [] if gpu else ['--device', 'cpu']
    arguments += ['--amp'] if amp else []
    return (
        'Memory did not suffice. What fits, and the command that trains it, is counted in a '
        f'minute by:\n{tool("analysis_tools/fit.py")} {shlex.join(arguments)}\n'
        'It looks at smaller batches, model.backbone.checkpointing=True, '
        'model.backbone.base_dtype=bfloat16, updates of the last blocks and the feature cache. A '
        'number of less memory than the device has leaves room for what else runs there.'
    )


def _of_gpu() -> int:
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory


def _of_machine() -> int:
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
