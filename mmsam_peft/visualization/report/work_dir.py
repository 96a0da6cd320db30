"""What a work directory tells of a training and its evaluations."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from ...evaluation.record import Record, read_record

FOLDER = 'report'
"""Of the work directory: what hooks leave for the report."""
FACTS, BASELINES = 'run.json', 'baselines.json'
SPLITS = ('test', 'val')


@dataclass
class Log:
    """Scalars that were logged, in the order of the training."""

    training: list[dict] = field(default_factory=list)
    """With ``iter``."""
    validation: list[dict] = field(default_factory=list)
    """With ``iter``, that of the training then."""


@dataclass
class Run:
    folder: Path
    log: Log
    facts: dict
    """As ``engine/run_facts.py`` makes them; empty for a training of an older version."""
    records: dict[str, Record]
    """By split."""
    baselines: dict[str, dict[str, float]]
    """Scores by name, of what stands in ``baselines.json``: 'untuned', 'constant'."""
    notes: list[str]
    """What could not be read, in sentences."""


def read_run(folder: Path) -> Run:
    """Raises FileNotFoundError where neither a training nor a test has left anything."""
    notes: list[str] = []
    records = {}
    for split in SPLITS:
        path = folder / FOLDER / f'{split}.npz'
        if path.is_file():
            try:
                records[split] = read_record(path)
            except ValueError as error:
                notes.append(str(error))
    facts = _json(folder / FOLDER / FACTS, notes)
    run = Run(folder, read_log(folder, facts.get('runs'), notes), facts, records, {}, notes)
    found = _json(folder / BASELINES, notes)
    for name, scores in found.items():
        if isinstance(scores, dict):
            run.baselines[name] = {key: value for key, value in _flat(scores) if _number(value)}
    if not (run.log.training or run.log.validation or records or facts):
        raise FileNotFoundError(
            f'{folder} holds no training: expected what tools/train.py leaves, '
            'TIME/vis_data/scalars.json, or tools/test.py, '
            f'{FOLDER}/test.npz. Give the work directory of one.'
        )
    return run


def read_log(folder: Path, runs: list[str] | None, notes: list[str]) -> Log:
    """The scalars of a training and of those that resumed it, each from where it went on.

    Args:
        runs: Names of their folders; by default all, of which the last to begin anew counts.
    """
    log = Log()
    paths = sorted(folder.glob('*/vis_data/scalars.json'))
    paths = [path for path in paths if runs is None or path.parent.parent.name in runs]
    for path in paths:
        training, validation, last = [], [], 0
        for line in path.read_text(errors='replace').splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # cut off by a kill
                continue
            if not isinstance(entry, dict):
                continue
            if 'loss' in entry and isinstance(entry.get('iter'), int):
                last = entry['iter']
                training.append(entry)
            elif any(_number(value) for value in entry.values()):
                validation.append(dict(entry, iter=last))
        if not training and not validation:
            continue
        begin = training[0]['iter'] if training else math.inf
        if validation and not validation[0]['iter']:  # of where it went on
            known = [entry['iter'] for entry in log.training if entry['iter'] < begin]
            for entry in validation:
                entry['iter'] = entry['iter'] or max(known, default=0)
        log.training = [entry for entry in log.training if entry['iter'] < begin] + training
        log.validation = [entry for entry in log.validation if entry['iter'] < begin] + validation
    return log


def _json(path: Path, notes: list[str]) -> dict:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError(f'got {type(content).__name__}, expected an object')
        return content
    except ValueError as error:
        notes.append(f'{path.name} cannot be read: {error}.')
        return {}


def _flat(scores: dict) -> list[tuple[str, object]]:
    """{'seg': {'mIoU': 1}} as ('seg/mIoU', 1)."""
    found = []
    for name, value in scores.items():
        if isinstance(value, dict):
            found += [(f'{name}/{inner}', number) for inner, number in value.items()]
        else:
            found.append((name, value))
    return found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
