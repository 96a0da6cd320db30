"""What follows from a record: intervals, and the table of classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.record import Counted, Record, View
from ...evaluation.tallies import build_tally
from ...measures.bootstrap import bootstrap

CLASSES = 'IoU of each class'


@dataclass
class ClassRow:
    number: int
    iou: float
    """In percent; NaN for a class that is neither labelled nor predicted."""
    interval: tuple[float, float]
    labelled: float
    """Share of all labelled pixels."""
    predicted: float


@dataclass
class Scored:
    record: Record
    intervals: dict[str, tuple[float, float]]
    """Lower and upper end, 95 %, of those scores that have one."""
    classes: dict[str, dict[str, list[ClassRow]]]
    """By view and test set, '' for the only one."""

    @property
    def scores(self) -> dict[str, float]:
        return self.record.info['scores']

    def own(self, view: View) -> dict[str, float]:
        """The scores of one view."""
        start = f'{view.name}/' if view.name else ''
        names = [view.score, *(name for name in self.scores if name != view.score)]
        return {
            name: self.scores[name]
            for name in names
            if name in self.scores and name.startswith(start)
        }

    def of_images(self, view: View) -> np.ndarray:
        """(n,), by the score of the view."""
        for one in self.record.counted:
            if view.score in one.of_images:
                return one.of_images[view.score]
        return np.zeros(0)


def score(record: Record) -> Scored:
    intervals, classes = {}, {}
    for one in record.counted:
        if not one.numbers:
            continue
        found = _bootstrap(one)
        rows = found.pop(CLASSES, None)
        if len(one.images) > 1:
            intervals |= {
                name: (float(low), float(high))
                for name, (low, high) in found.items()
                if np.isfinite([low, high]).all()
            }
        if rows is not None:
            of_view = classes.setdefault(one.tally.view, {})
            of_view[one.tally.set_name] = _rows(one, rows)
    return Scored(record, intervals, classes)


def _bootstrap(one: Counted) -> dict:
    tally = build_tally(one.tally.settings())

    def scores(sums: dict, images: float) -> dict:
        by_class = tally.class_scores(sums)
        return tally.scores(sums, images) | ({} if by_class is None else {CLASSES: by_class})

    return bootstrap(one.numbers, scores)


def _rows(one: Counted, interval: Sequence[np.ndarray]) -> list[ClassRow]:
    sums = {name: np.asarray(value, np.float64).sum(0) for name, value in one.numbers.items()}
    iou = one.tally.class_scores(sums)
    labelled, predicted = (sums[key] / max(sums[key].sum(), 1) for key in ('labelled', 'predicted'))
    return [
        ClassRow(
            i,
            float(iou[i]),
            (float(interval[0][i]), float(interval[1][i])),
            float(labelled[i]),
            float(predicted[i]),
        )
        for i in range(len(iou))
    ]
