"""What a machine is called, and how time and memory are read on it."""

import json
import platform
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import torch

from ..whole_files import write_whole

RSS_UNIT = 1 if sys.platform == 'darwin' else 1024  # of ru_maxrss, in bytes


def device_name() -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else processor_name()


def processor_name() -> str:
    listed = Path('/proc/cpuinfo')
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def clock(device: str) -> float:
    """Seconds. On a CPU of the processor, shared out among the threads: what else runs on the
    machine hardly counts."""
    if device == 'cpu':
        return time.process_time() / torch.get_num_threads()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def peak(device: str, fresh: bool = False) -> int:
    """The most bytes there have been at a time: in this process, or, since the last ``fresh``, on
    the GPU."""
    if device == 'cpu':
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
    if fresh:
        torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.max_memory_allocated(device)


def forget_peak() -> None:
    """Begins :func:`peak_resident` anew, where the system can (Linux)."""
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')


def peak_resident() -> int | None:
    """The most bytes this process has had in memory at a time since :func:`forget_peak`; None where
    the system does not say."""
    with suppress(OSError):
        for line in Path('/proc/self/status').read_text().splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) * 1024
    return None


def machine(device: str) -> dict[str, str | int]:
    """What the numbers were measured on."""
    gpu = {} if device == 'cpu' else dict(gpu=torch.cuda.get_device_name(device))
    return dict(
        cpu=processor_name(),
        **gpu,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        command=' '.join(sys.argv),
    )


def write_measured(file: Path, device: str, rows: Sequence[dict]) -> None:
    """JSON of what was measured, and on what."""
    found = dict(machine=machine(device), rows=rows)
    write_whole(file, (json.dumps(found, indent=1) + '\n').encode())


def median_and_range(ratios: Sequence[float]) -> list[float]:
    """Median, least and greatest."""
    return [median(ratios), min(ratios), max(ratios)]
