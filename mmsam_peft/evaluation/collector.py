"""Gathers, while a set is evaluated, what its report needs, from what the metrics compute
anyway."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.dist import all_gather_object, broadcast_object_list, collect_results, is_main_process
from mmengine.evaluator import BaseMetric
from torch import Tensor

from .examples import Examples, choose, small
from .record import Counted, Record, View
from .tallies import Tally, tallies_of
from .threshold_curve import image_curve

MOST_NUMBERS = 2**24
"""Of a tally over the images of a process; with more, there is no interval of its scores."""


class Collector:
    """One evaluation: ``add`` after each batch has been scored, ``finish`` in the end, in all
    processes.

    Args:
        metrics: The evaluator's.
        views: Settings of what is predicted, by name, as ``View`` has them.
        main: The score that counts most, if one is named.
        curve: Whether the prediction is one class against the background.
        number: How many examples of each group.
    """

    def __init__(
        self,
        metrics: Sequence[BaseMetric],
        views: Mapping[str, dict],
        main: str | None,
        curve: bool,
        number: int = 3,
    ) -> None:
        self.views, self.curve, self.number = views, curve, number
        self.counters = [(metric, tally) for metric in metrics for tally in tallies_of(metric)]
        self.read = {id(metric): len(metric.results) for metric, _ in self.counters}
        self.rows: list[dict] = []
        self.held = [0] * len(self.counters)
        self.main, self.examples = {}, {}
        for name in views:
            scores = {
                f'{tally.prefix}{score}': (tally, how)
                for _, tally in self.counters
                if tally.view == name
                for score, how in tally.better.items()
            }
            if scores:
                self.main[name] = main if main in scores else next(iter(scores))
                self.examples[name] = Examples(number, scores[self.main[name]][1] == 'higher')

    def add(self, samples: Sequence) -> None:
        """Samples as the metrics got them, in their order."""
        new = {}
        for metric, _ in self.counters:
            if id(metric) not in new:
                found = metric.results[self.read[id(metric)] :]
                self.read[id(metric)] = len(metric.results)
                new[id(metric)] = found if len(found) == len(samples) else [None] * len(samples)
        for i, sample in enumerate(samples):
            row = dict(path=str(sample.get('img_path', '')), tallies=[])
            for which, (metric, tally) in enumerate(self.counters):
                result = new[id(metric)][i]
                numbers = None if result is None else tally.numbers(result)
                scores = None if numbers is None else tally.scores(numbers, 1)
                self.held[which] += sum(one.size for one in (numbers or {}).values())
                kept = numbers if self.held[which] <= MOST_NUMBERS else {}
                row['tallies'].append((None if numbers is None else kept, scores))
                if scores and self.main.get(tally.view) in scores:
                    self._offer(tally, scores[self.main[tally.view]], sample, row['path'])
            row['curve'] = image_curve(_as_dict(sample)) if self.curve else None
            self.rows.append(row)

    def _offer(self, tally: Tally, score: float, sample, path: str) -> None:
        predicted, label = (
            ('pred_sem_seg', 'gt_sem_seg')
            if not tally.view
            else (f'pred_{tally.view}', f'gt_{tally.view}')
        )

        def kept(values: Tensor) -> np.ndarray:  # the classes of one channel come as floats
            return small(values if tally.view else values.byte())

        truth = sample.get(label).data
        coarse = truth[..., ::8, ::8]
        shown = float(((coarse != 0) & (coarse != 255)).float().mean()) if coarse.numel() else 0.0
        self.examples[tally.view].offer(
            score, round(shown, 6), path, lambda: (kept(sample.get(predicted).data), kept(truth))
        )

    def finish(self, size: int, info: dict) -> Record | None:
        """What was evaluated, images in the order of the set; None but in the main process.

        Args:
            size: Images of the set: what several processes were given twice is left out.
            info: For ``Record.info``.
        """
        rows = collect_results(self.rows, size, 'cpu')
        counted, middles = [], {}
        if is_main_process():
            counted = [self._joined(rows, i) for i in range(len(self.counters))]
            for name, score in self.main.items():
                found = [one.of_images[score] for one in counted if score in one.of_images]
                values = found[0] if found else np.empty(0)
                known = values[np.isfinite(values)]
                middles[name] = float(np.median(known)) if known.size else 0.0
        (middles,) = _from_main(middles)
        mine = {name: one.candidates(middles[name]) for name, one in self.examples.items()}
        everyone = all_gather_object(mine)
        if not is_main_process():
            return None
        views = []
        for name, examples in self.examples.items():
            found = [one for of_process in everyone for one in of_process[name]]
            chosen = choose(found, self.number, examples.sign > 0, middles[name])
            views.append(View(name, self.main[name], chosen, dict(self.views[name])))
        curves = [row['curve'] for row in rows if row['curve'] is not None]
        better = {
            f'{one.tally.prefix}{name}': how
            for one in counted
            for name, how in one.tally.better.items()
        }
        return Record(
            dict(better=better, main=next(iter(self.main.values()), None)) | info,
            [row['path'] for row in rows],
            counted,
            views,
            100 * np.mean(curves, axis=0) if curves else None,
        )

    def _joined(self, rows: list[dict], which: int) -> Counted:
        """One tally's numbers of all images that take part."""
        tally = self.counters[which][1]
        part = [i for i, row in enumerate(rows) if row['tallies'][which][0] is not None]
        numbers, scores = {}, {}
        if part:
            first_numbers, first_scores = rows[part[0]]['tallies'][which]
            scores = {
                name: np.array([rows[i]['tallies'][which][1][name] for i in part])
                for name in first_scores
            }
            if all(rows[i]['tallies'][which][0] for i in part):
                numbers = {
                    name: np.array([rows[i]['tallies'][which][0][name] for i in part])
                    for name in first_numbers
                }
        return Counted(tally, np.array(part, np.int64), numbers, scores)


def _as_dict(sample) -> dict:
    return sample if isinstance(sample, dict) else sample.to_dict()


def _from_main(value: object) -> list:
    values = [value]
    broadcast_object_list(values)
    return values
