"""The runs of a comparison: each trained and tested by the tools in processes of their own,
measured, and written down."""

import contextlib
import json
import math
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch

from ..engine.checkpoints import newest_checkpoint
from ..evaluation.delta import read_scores
from ..whole_files import write_whole
from .machine import RSS_UNIT, device_name
from .plan import Run, main_score

LINES_SHOWN = 10


class RunFailed(RuntimeError):
    """A tool ended with an error."""


class Trials:
    """Makes runs, ``jobs`` at a time, goes on with what was interrupted and leaves alone what is
    finished.

    Args:
        tools: The folder of train.py and test.py.
    """

    def __init__(self, tools: Path, jobs: int = 1) -> None:
        self.tools, self.jobs = tools, jobs
        self.children: set[int] = set()

    def run_missing(self, runs: Sequence[Run]) -> list[Run]:
        """Makes the runs that have no result yet, with a line when each starts and ends; returns
        those that failed."""
        missing = [run for run in runs if not run.result.exists()]
        print(f'{len(runs)} runs, {len(runs) - len(missing)} of them finished before', flush=True)
        failed, times = [], []
        with ThreadPoolExecutor(self.jobs) as pool:
            made = {pool.submit(self._timed, run, times): run for run in missing}
            try:
                for done, future in enumerate(as_completed(made), 1):
                    run, error = made[future], future.exception()
                    left = statistics.mean(times) * (len(missing) - done) / self.jobs
                    outcome = f'FAILED: {error}' if error else _outcome(future.result())
                    print(
                        f'[{done}/{len(missing)}] {_title(run)}: {outcome}; about '
                        f'{_duration(left)} left',
                        flush=True,
                    )
                    if error:
                        failed.append(run)
            except (
                BaseException
            ):  # a signal: the trainings end, and the next call goes on with them
                pool.shutdown(wait=False, cancel_futures=True)
                for child in list(self.children):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGTERM)
                raise
        return failed

    def _timed(self, run: Run, times: list[float]) -> dict:
        start = time.time()
        try:
            return self._make(run)
        finally:
            times.append(time.time() - start)

    def _make(self, run: Run) -> dict:
        if run.journal.exists() and not run.begun:
            shutil.rmtree(run.folder)  # it failed before its first checkpoint
        run.folder.mkdir(parents=True, exist_ok=True)
        config = run.folder / 'config.py'
        run.config.dump(config)
        attempts = self._train(run, config)
        weights = find_weights(run)
        self._tool(run, 'test.py', config, weights, '--work-dir', run.folder / 'test')
        scores = _scores(run.folder / 'test')
        result = dict(
            method=run.method,
            seed=run.seed,
            scores=scores,
            **measured(run, attempts),
            adapter_bytes=weights.stat().st_size,
            weights=weights.name,
            device=device_name(),
            threads=torch.get_num_threads(),
            **run.facts,
        )
        if math.isnan(scores[main_score(result)]):
            raise RunFailed(
                f'{main_score(result)} of the test is NaN, which compares with nothing: the metric '
                'may not be '
                'defined on this test set. Choose another by default_hooks.checkpoint.save_best.'
            )
        _write(run.result, result)
        return result

    def _train(self, run: Run, config: Path) -> list[dict]:
        """Trains unless an attempt before came to the end; returns what is known of all
        attempts."""
        attempts = json.loads(run.journal.read_text())['attempts'] if run.journal.exists() else []
        if any(attempt['finished'] for attempt in attempts):
            return attempts
        attempt = dict(seconds=None, resident_bytes=None, shared=self.jobs > 1, finished=False)
        journal = dict(attempts=[*attempts, attempt], settings=run.facts['settings'])
        _write(run.journal, journal)
        print(f'{_title(run)}: {"resumed" if attempts else "started"}', flush=True)
        start, resume = time.time(), ['--resume'] * run.begun
        try:
            attempt['resident_bytes'] = self._tool(
                run, 'train.py', config, '--work-dir', run.folder, *resume
            )
            attempt['finished'] = True
        finally:
            attempt['seconds'] = round(time.time() - start, 1)
            _write(run.journal, journal)
        return journal['attempts']

    def _tool(self, run: Run, tool: str, *arguments) -> int | None:
        """Runs a tool to its end; returns its peak resident size in bytes. RunFailed, with its last
        lines, on an error.

        Linux lets a process begin with the peak of the one that started it: below our own peak, the
        size is unknown (None).
        """
        log = run.folder / f'{Path(tool).stem}.log'
        with log.open('a') as file:
            child = subprocess.Popen(
                [sys.executable, str(self.tools / tool), *map(str, arguments)],
                stdout=file,
                stderr=file,
            )
        self.children.add(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        self.children.remove(child.pid)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            last = '\n'.join(
                f'    {line}'
                for line in log.read_text(errors='replace').splitlines()[-LINES_SHOWN:]
            )
            raise RunFailed(f'{tool} ended with {child.returncode}; the end of {log}:\n{last}\n')
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage.ru_maxrss * RSS_UNIT if usage.ru_maxrss > ours else None


def find_weights(run: Run) -> Path:
    """The best adapter or checkpoint by the config's first ``save_best`` metric, else the last.
    FileNotFoundError: none."""
    metric = (run.facts['metric'] or '').replace('/', '_')
    for pattern in (
        'adapter_best.safetensors',
        f'adapter_best_{metric}.safetensors',
        f'best_{metric}*.pth',
        'adapter_last.safetensors',
    ):
        found = sorted(run.folder.glob(pattern), key=lambda path: path.stat().st_mtime)
        if found:
            return found[-1]
    last, _ = newest_checkpoint(run.folder)
    if not last:
        raise FileNotFoundError(
            f'{run.folder} has neither an adapter nor a checkpoint; set default_hooks.checkpoint, '
            'so that '
            'training saves one.'
        )
    return last


def measured(run: Run, attempts: list[dict]) -> dict:
    """Time and memory of a training, over all its attempts."""
    logged = [
        json.loads(line)
        for path in run.folder.glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
    ]
    steps = [line for line in logged if 'loss' in line]
    seconds = [attempt['seconds'] for attempt in attempts]
    on_gpu = [line['memory'] * 2**20 for line in steps if 'memory' in line]
    resident = [attempt['resident_bytes'] for attempt in attempts if attempt['resident_bytes']]
    return dict(
        seconds=None if None in seconds else round(sum(seconds), 1),
        seconds_note='an attempt was killed before its time was written down'
        if None in seconds
        else None,
        attempts=len(attempts),
        shared=any(attempt['shared'] for attempt in attempts),
        iterations_per_second=1 / statistics.median(line['time'] for line in steps)
        if steps
        else None,
        peak_memory_bytes=max(on_gpu or resident, default=None),
        memory_kind='GPU' if on_gpu else 'resident',
    )


def _scores(folder: Path) -> dict[str, float]:
    return read_scores(max(folder.glob('*/*.json'), key=lambda path: path.stat().st_mtime))


def _write(path: Path, content: dict) -> None:
    write_whole(path, json.dumps(content, indent=1).encode())


def _title(run: Run) -> str:
    return f'{run.method} seed {run.seed}'


def _outcome(result: dict) -> str:
    name = main_score(result)
    return f'{name} {result["scores"][name]:.2f}' + (
        f', {_duration(result["seconds"])}' if result['seconds'] else ''
    )


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return (
        f'{hours} h {minutes:02} min'
        if hours
        else f'{minutes} min'
        if seconds >= 60
        else f'{seconds:.0f} s'
    )
