"""Makes a planned run: trains it, tests it, measures both, and writes it down."""

import gc
import json
import math
import statistics
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from mmengine.config import Config

from ...apis.launch import build_runner, load_config
from ...apis.testing import prepare_test
from ...apis.training import process_rank, train
from ...apis.work_dir import locked
from ...engine.checkpoints import newest_checkpoint, training_states
from ...engine.hooks.image_scores_hook import ImageScoresHook
from ...whole_files import write_whole
from ..machine import device_name, forget_peak, peak_resident
from .run import Run, write_json

STAMP = '%Y%m%d_%H%M%S'
"""How MMEngine names the folder of a log by the time."""


def make_trials(
    folders: Sequence[Path], launcher: str = 'none', shared: bool = False
) -> list[Path]:
    """Makes the runs that are planned in the folders and not finished; returns those that failed,
    each with its failure.txt. With a launcher, the first that fails ends all: its processes are no
    longer in step."""
    failed = []
    for folder in folders:
        run = Run.read(folder)
        if run.result.exists():
            continue
        try:
            make_trial(run, launcher, shared)
        except Exception as error:  # whatever a training raises; signals pass
            traceback.print_exc()
            text = f'{str(error) or repr(error)}\n\n{traceback.format_exc()}'
            write_whole(run.failure, text.encode())
            if launcher != 'none':
                raise
            failed.append(folder)
    return failed


def make_trial(run: Run, launcher: str = 'none', shared: bool = False) -> dict:
    """Trains a run, unless an attempt before came to the end, tests it, and writes result.json and
    images.json; returns the result.

    Args:
        shared: Other trainings run on the machine at the same time.

    Raises:
        RuntimeError: The main score is NaN.
        SystemExit: A signal came; the next attempt goes on from the last checkpoint.
    """
    with locked(run.folder / 'test') if process_rank() == 0 else nullcontext():
        return _make(run, launcher, shared)


def _make(run: Run, launcher: str, shared: bool) -> dict:
    attempts = _train(run, launcher, shared)
    weights = find_weights(run)
    scores, images = _test(run, weights, launcher)
    result = dict(
        **run.facts,
        scores=scores,
        val_scores=validated(run, attempts),
        **measured(run, attempts),
        adapter_bytes=weights.stat().st_size,
        weights=weights.name,
        device=device_name(),
        threads=torch.get_num_threads(),
    )
    if math.isnan(scores[main_score(result)]):
        raise RuntimeError(
            f'{main_score(result)} of the test is NaN, which compares with nothing: the metric '
            'may not be defined on this test set. Choose another by '
            'default_hooks.checkpoint.save_best.'
        )
    if process_rank() == 0:
        write_json(run.image_scores, images)
        write_json(run.result, result)
        run.failure.unlink(missing_ok=True)
        _remove_states(run, weights)
    return result


def main_score(result: dict) -> str:
    """The score of a result.json that stands for all: Delta_b, else what its config chooses the
    best checkpoint by, else the first."""
    scores = result['scores']
    delta = [name for name in scores if name.startswith('Delta_b/')]
    return next(name for name in (*delta, result['metric'], *scores) if name in scores)


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
            'so that training saves one.'
        )
    return last


def validated(run: Run, attempts: list[dict]) -> dict[str, float]:
    """The validation scores of the tested weights: of the best by the main metric, where the best
    are kept, else the last."""
    metric = run.facts['metric']
    scored = [line for line in _logged(run, attempts) if 'loss' not in line and 'data_time' in line]
    if not scored:
        return {}
    chosen = scored[-1]
    if metric in chosen:
        choose = min if run.facts.get('rule') == 'less' else max
        best = [line for line in scored if not math.isnan(line.get(metric, math.nan))]
        chosen = choose(best, key=lambda line: line[metric]) if best else chosen
    return {
        name: value for name, value in chosen.items() if name not in ('time', 'data_time', 'step')
    }


def measured(run: Run, attempts: list[dict]) -> dict:
    """Time and memory of a training, over all its attempts."""
    steps = [line for line in _logged(run, attempts) if 'loss' in line]
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


def _train(run: Run, launcher: str, shared: bool) -> list[dict]:
    """What is known of all attempts."""
    attempts = json.loads(run.journal.read_text())['attempts'] if run.journal.exists() else []
    if any(attempt['finished'] for attempt in attempts):
        return attempts
    resume = run.begun
    config = _config(run, launcher, 'train')
    config.resume = resume
    attempt = dict(
        began=time.strftime(STAMP),
        resumed=resume,
        seconds=None,
        resident_bytes=None,
        shared=shared,
        finished=False,
    )
    journal = dict(attempts=[*attempts, attempt], settings=run.facts['settings'])
    _note(run.journal, journal)
    forget_peak()
    start = time.time()
    try:
        train(config)
        attempt.update(finished=True, resident_bytes=peak_resident())
    finally:
        attempt['seconds'] = round(time.time() - start, 1)
        _note(run.journal, journal)
        gc.collect()
    return journal['attempts']


def _test(run: Run, weights: Path, launcher: str) -> tuple[dict[str, float], dict]:
    """The scores of the test set and of each of its images."""
    config = _config(run, launcher, 'test')
    prepare_test(config, str(weights))
    runner = build_runner(config)
    hook = ImageScoresHook(config.test_evaluator)
    runner.register_hook(hook)
    scores = runner.test()
    return {name: float(value) for name, value in scores.items()}, hook.scores


def _config(run: Run, launcher: str, what: str) -> Config:
    """MMEngine keeps loggers and visualizers by name for the whole process: each run has its
    own."""
    folder = run.folder if what == 'train' else run.folder / what
    config = load_config(str(run.folder / 'config.py'), work_dir=str(folder), launcher=launcher)
    name = f'{run.folder.resolve()}_{what}'.replace('/', '_')
    config.experiment_name = name
    if config.get('visualizer'):
        config.visualizer.name = name
    return config


def _logged(run: Run, attempts: list[dict]) -> list[dict]:
    """What the training logged, in the order of time; nothing of attempts that left no checkpoint:
    the next one began anew."""
    anew = max((attempt['began'] for attempt in attempts if not attempt['resumed']), default='')
    return [
        json.loads(line)
        for path in sorted(run.folder.glob('*/vis_data/scalars.json'))
        if path.parents[1].name >= anew
        for line in path.read_text().splitlines()
    ]


def _remove_states(run: Run, weights: Path) -> None:
    """Removes the checkpoints of a finished run that an adapter file stands for: nothing goes on
    from them, and those of many runs fill a disk."""
    if weights.suffix == '.safetensors':
        for path in (*training_states(run.folder), *run.folder.glob('best_*.pth')):
            path.unlink()


def _note(path: Path, content: dict) -> None:
    if process_rank() == 0:
        write_json(path, content)
