"""The results of a suite: read, and the best learning rate of each method chosen by validation."""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .trial import main_score


@dataclass(frozen=True)
class Trained:
    """What is known of a method on a data set at one learning rate.

    Attributes:
        key: (data set, method, arch).
        results: result.json by seed.
        images: The scores of each test image by seed, ``{path: {metric: value}}``.
    """

    key: tuple[str, str, str | None]
    lr: float
    results: dict[int, dict]
    images: dict[int, dict]

    @property
    def metric(self) -> str:
        return main_score(next(iter(self.results.values())))

    @property
    def lower_is_better(self) -> bool:
        first = next(iter(self.results.values()))
        return first['metric'] == self.metric and first.get('rule') == 'less'

    @property
    def trained_parameters(self) -> int:
        return next(iter(self.results.values()))['trained_parameters']['total']

    @property
    def name(self) -> str:
        """The method, a config file by its own name; with the arch if one was asked for."""
        _, method, arch = self.key
        if method.endswith('.py'):
            method = Path(method).stem.replace('{data}', '').strip('_') or method
        return f'{method} {arch}' if arch else method

    def scores(self, metric: str, split: str = 'scores') -> list[float]:
        """Of every seed that has it."""
        found = (result[split].get(metric) for result in self.results.values())
        return [value for value in found if value is not None]

    def validation(self) -> float | None:
        """The mean of the main metric on the validation set; None: a seed has none."""
        values = self.scores(self.metric, 'val_scores')
        return float(np.mean(values)) if len(values) == len(self.results) else None


@dataclass(frozen=True)
class Chosen:
    """A method at its best learning rate, and the sweep that it was chosen from, by rate.

    Attributes:
        note: What is to be said about the choice: at the edge of the sweep, or rates with fewer
            seeds; '' for nothing.
    """

    best: Trained
    sweep: tuple[Trained, ...]
    note: str = ''


def read_results(work_dir: Path) -> list[Trained]:
    """All results below a folder, in the order of data sets, methods and rates.

    Raises:
        FileNotFoundError: There is none.
        ValueError: Two are of the same run, or one is damaged.
    """
    groups: dict[tuple, dict[int, tuple[dict, dict, Path]]] = defaultdict(dict)
    for path in sorted(work_dir.rglob('result.json')):
        try:
            result = json.loads(path.read_text())
            key = (result.get('data') or '', result['method'], result.get('arch'))
            lr = result.get('lr') or result['settings']['optim_wrapper']['optimizer']['lr']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path} is no result of a run ({error!r}): remove it, or make the run again.'
            ) from error
        group = groups[(*key, lr)]
        if result['seed'] in group:
            raise ValueError(
                f'{path} and {group[result["seed"]][2]} are the same run: remove one of them.'
            )
        images = path.with_name('images.json')
        group[result['seed']] = (
            result,
            json.loads(images.read_text()) if images.exists() else {},
            path,
        )
    if not groups:
        raise FileNotFoundError(f'There is no result.json below {work_dir}: no run is finished.')
    return [
        Trained(
            tuple(key),
            lr,
            {seed: found[seed][0] for seed in sorted(found)},
            {seed: found[seed][1] for seed in sorted(found)},
        )
        for (*key, lr), found in sorted(groups.items(), key=lambda item: list(map(str, item[0])))
    ]


def choose(trained: list[Trained]) -> list[Chosen]:
    """Each method on each data set at the rate with the best mean validation score, among the rates
    with the most seeds.

    Raises:
        ValueError: Several rates, and no validation score to choose by.
    """
    groups: dict[tuple, list[Trained]] = defaultdict(list)
    for one in trained:
        groups[one.key].append(one)
    return [_best(sorted(group, key=lambda one: one.lr)) for group in groups.values()]


def _best(sweep: list[Trained]) -> Chosen:
    if len(sweep) == 1:
        return Chosen(sweep[0], tuple(sweep))
    most = max(len(one.results) for one in sweep)
    full = [one for one in sweep if len(one.results) == most]
    scores = [one.validation() for one in full]
    if None in scores:
        raise ValueError(
            f'{" ".join(filter(None, full[0].key))} was trained at several learning rates, but '
            f'has no {full[0].metric} of a validation set to choose by: give the config '
            'a val_evaluator that measures it.'
        )
    best = full[int((np.argmin if full[0].lower_is_better else np.argmax)(scores))]
    notes = []
    if best in (sweep[0], sweep[-1]):
        notes.append('at the edge of the sweep')
    if len(full) < len(sweep):
        notes.append(f'{len(sweep) - len(full)} rates have fewer seeds')
    return Chosen(best, tuple(sweep), ', '.join(notes))
