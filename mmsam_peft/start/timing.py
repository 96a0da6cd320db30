"""Steps of the real training, timed in a process of their own, before it is started.

python -m mmsam_peft.start.timing CONFIG prints them as they are done.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from ..analysis.machine import peak
from ..apis.launch import load_config
from ..registry import DATASETS, MODELS

MARK = '@timing '
"""Begins the lines that are ours, among what libraries print."""
STEPS = 4
"""Of which the first warms up."""
START_UP = 600
"""Seconds that Python and the model may take to be ready."""
IMAGES = 2
"""Of validation that are timed."""


@dataclass(frozen=True)
class Timing:
    """Seconds of a step of one image, and of an image in validation; bytes in use before the first
    step, and the most above that. None where time was over before."""

    step: float
    validation: float | None
    held: int
    above: int

    def memory(self, batch: int) -> int:
        """Bytes at the peak with a batch."""
        return self.held + batch * self.above


@dataclass(frozen=True)
class Untimed:
    """Why nothing was measured. ``too_large``: memory does not suffice."""

    reason: str
    too_large: bool = False


TOO_LARGE = Untimed('a step of one image needs more memory than there is', too_large=True)


def measure(config: Path, seconds: float) -> Timing | Untimed:
    """Trains the config's model on a few of its images, weights at random, one image at a time.

    Args:
        seconds: how long to measure, not counting the start of Python.

    Returns:
        What was measured, or why nothing was.
    """
    command = [sys.executable, '-m', __name__, str(config)]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding='utf-8'
    )
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_pass_on, args=(child.stdout, lines), daemon=True)
    reader.start()
    try:
        found = _collect(lines, seconds)
        if found is None and child.wait() in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return TOO_LARGE  # the system kills what needs too much
        return found or Untimed(f'the trial ended with status {child.returncode}')
    finally:
        child.kill()
        child.wait()
        reader.join()


def _pass_on(stream: Iterator[str], lines: queue.Queue) -> None:
    for line in stream:
        if line.startswith(MARK):
            lines.put(line.removeprefix(MARK))
    lines.put(None)


def _collect(lines: queue.Queue, seconds: float) -> Timing | Untimed | None:
    """None where the process ended before its first step."""
    steps, images, memory, until = [], [], {}, None
    while True:
        try:
            left = START_UP if until is None else max(0, until - time.monotonic())
            line = lines.get(timeout=left)
        except queue.Empty:
            break
        if line is None:
            if not steps:
                return None
            break
        kind, value = json.loads(line)
        if kind == 'error':
            return TOO_LARGE if value is None else Untimed(value)
        if kind == 'held':
            until = time.monotonic() + seconds
        if kind in ('held', 'above'):
            memory[kind] = value
        else:
            (steps if kind == 'step' else images).append(value)
    if not steps:
        return Untimed(f'a step of one image takes more than {seconds:.0f} seconds')
    step = median(steps[1:] or steps)
    return Timing(step, median(images) if images else None, memory['held'], memory['above'])


def main(config: str) -> None:
    try:
        for kind, value in _measured(load_config(config)):
            _say(kind, value)
    except (torch.OutOfMemoryError, MemoryError):
        _say('error', None)
    except Exception as error:  # told by the parent, which goes on
        _say('error', f'{type(error).__name__}: {error}')


def _say(kind: str, value: float | str | None) -> None:
    print(f'{MARK}{json.dumps([kind, value])}', flush=True)


def _measured(cfg: Config) -> Iterator[tuple[str, float]]:
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    init_default_scope(cfg.default_scope)
    cfg.model.checkpoint = None  # random weights take as long
    model = MODELS.build(cfg.model).to(device)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    training = DATASETS.build(cfg.train_dataloader.dataset)
    validation = DATASETS.build(cfg.val_dataloader.dataset)
    yield 'held', _held(device)
    model.train()
    for number in range(STEPS):
        start, before = time.perf_counter(), peak(device, fresh=True)
        batch = pseudo_collate([training[number % len(training)]])
        model.train_step(batch, wrapper)
        if device == 'cuda':
            torch.cuda.synchronize()
        yield 'step', time.perf_counter() - start
        if number == 0:
            yield 'above', max(1, peak(device) - (before if device == 'cpu' else _held(device)))
    model.eval()
    for number in range(min(IMAGES, len(validation))):
        start = time.perf_counter()
        with torch.no_grad():
            model.test_step(pseudo_collate([validation[number]]))
        if device == 'cuda':
            torch.cuda.synchronize()
        yield 'image', time.perf_counter() - start


def _held(device: str) -> int:
    return peak(device) if device == 'cpu' else torch.cuda.memory_allocated()


def free_memory() -> int:
    """Bytes that a training may use: of the GPU, or of this machine or container."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    free = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    listed = Path('/proc/meminfo')
    if listed.exists():
        lines = dict(line.split(':') for line in listed.read_text().splitlines())
        free = int(lines['MemAvailable'].split()[0]) * 1024 if 'MemAvailable' in lines else free
    limit, used = Path('/sys/fs/cgroup/memory.max'), Path('/sys/fs/cgroup/memory.current')
    if limit.exists() and used.exists() and limit.read_text().strip().isdigit():
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


if __name__ == '__main__':
    main(sys.argv[1])
