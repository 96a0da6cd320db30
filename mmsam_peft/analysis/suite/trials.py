"""The runs of a suite, made by processes of their own, or as commands for other machines."""

import contextlib
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from .run import Run
from .trial import main_score

LINES_SHOWN = 10


class Trials:
    """Makes runs, ``jobs`` processes at a time, goes on with what was interrupted and leaves alone
    what is finished.

    Args:
        tool: tools/analysis_tools/trial.py.
        runs_per_process: One after another in a process, which saves the start of the others. An
            error of one leaves the others alone.
    """

    def __init__(self, tool: Path, jobs: int = 1, runs_per_process: int = 1) -> None:
        self.tool, self.jobs, self.runs_per_process = tool, jobs, runs_per_process
        self.children: set[int] = set()

    def run_missing(self, runs: Sequence[Run]) -> list[Run]:
        """Makes the runs that have no result yet, with a line when each ends; returns those that
        failed."""
        missing = [run for run in runs if not run.result.exists()]
        print(f'{len(runs)} runs, {len(runs) - len(missing)} of them finished before', flush=True)
        failed, times, done = [], [], 0
        size = self.runs_per_process
        parts = [missing[i : i + size] for i in range(0, len(missing), size)]
        with ThreadPoolExecutor(self.jobs) as pool:
            made = [pool.submit(list, self._make(part)) for part in parts]
            try:
                for future in as_completed(made):
                    for run, error, seconds in future.result():
                        done += 1
                        times.append(seconds)
                        left = statistics.mean(times) * (len(missing) - done) / self.jobs
                        outcome = f'FAILED: {error}' if error else _outcome(run)
                        print(
                            f'[{done}/{len(missing)}] {run.title}: {outcome}; about '
                            f'{_duration(left)} left',
                            flush=True,
                        )
                        if error:
                            failed.append(run)
            except BaseException:  # a signal: the trainings end; the next call goes on with them
                pool.shutdown(wait=False, cancel_futures=True)
                for child in list(self.children):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGTERM)
                raise
        return failed

    def _make(self, runs: Sequence[Run]) -> Iterator[tuple[Run, str | None, float]]:
        """Makes some runs in one process; what became of each, and its seconds."""
        for run in runs:
            run.write()
            run.failure.unlink(missing_ok=True)
        log = runs[0].folder / 'trial.log'
        print(f'{runs[0].title}: {"resumed" if runs[0].begun else "started"}', flush=True)
        start = time.time()
        with log.open('a') as file:
            child = subprocess.Popen(
                [
                    sys.executable,
                    str(self.tool),
                    *(str(run.folder) for run in runs),
                    *['--shared'] * (self.jobs > 1),
                ],
                stdout=file,
                stderr=file,
            )
        self.children.add(child.pid)
        try:
            code = child.wait()
        finally:
            self.children.discard(child.pid)
        seconds = (time.time() - start) / len(runs)
        for run in runs:
            yield run, _error(run, code, log), seconds


def _error(run: Run, code: int, log: Path) -> str | None:
    if run.result.exists():
        return None
    if run.failure.exists():
        return run.failure.read_text().split('\n\n')[0]
    last = '\n'.join(
        f'    {line}' for line in log.read_text(errors='replace').splitlines()[-LINES_SHOWN:]
    )
    return f'its process ended with {code}; the end of {log}:\n{last}\n'


def commands(runs: Sequence[Run], tool: Path, how: str, gpus: int = 1) -> str:
    """Commands that make the runs which have no result yet, each by itself: any order, any machine
    that sees the work directory, and once more after an interruption.

    Args:
        how: 'local', a line each; 'torchrun', a line each, on so many GPUs of one machine; 'slurm',
            a script for sbatch, with an array.
    """
    missing = [run for run in runs if not run.result.exists()]
    for run in missing:
        run.write()
    folders = [shlex.quote(str(run.folder)) for run in missing]
    program = shlex.quote(str(tool))
    if how == 'local':
        return '\n'.join(f'python {program} {folder}' for folder in folders)
    if how == 'torchrun':
        return '\n'.join(
            f'torchrun --nproc_per_node={gpus} {program} {folder} --launcher pytorch'
            for folder in folders
        )
    listed = '\n'.join(f'    {folder}' for folder in folders)
    return (
        '#!/bin/bash\n'
        '#SBATCH --job-name=suite\n'
        f'#SBATCH --array=0-{max(0, len(folders) - 1)}\n'
        f'#SBATCH --nodes=1 --ntasks-per-node={gpus} --gpus-per-node={gpus} --cpus-per-task=4\n'
        f'folders=(\n{listed}\n)\n'
        f'srun python {program} "${{folders[$SLURM_ARRAY_TASK_ID]}}" --launcher slurm'
    )


def _outcome(run: Run) -> str:
    result = json.loads(run.result.read_text())
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
