"""Which classes the masks of a whole set show, and whether that can be what is meant."""

import logging
from dataclasses import dataclass, field

import numpy as np
from mmengine.logging import print_log

from .problems import ENCODINGS, ONE_CLASS

VALUES_LISTED = 5


@dataclass
class ClassesSeen:
    """Counts over masks of class numbers: of a data set, of several together, or of one task's
    labels.

    Args:
        what: the masks, in words.
        classes: how many there are.
        ignore: number of ignored pixels.
    """

    what: str
    classes: int
    ignore: int = 255
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    """By class number."""
    only_ignored: list[str] = field(default_factory=list)
    """Masks with ignored pixels in which no class but the first is seen ..."""
    ignored_beside_object: bool = False
    """... and whether any other mask has ignored pixels."""

    def add(self, path: str, counts: np.ndarray) -> None:
        """Counts a mask's pixels (256)."""
        self.pixels += counts
        if self.classes <= self.ignore < len(counts) and counts[self.ignore]:
            if counts[1 : self.classes].any():
                self.ignored_beside_object = True
            else:
                self.only_ignored.append(path)

    def join(self, other: 'ClassesSeen') -> None:
        self.pixels += other.pixels
        self.only_ignored += other.only_ignored
        self.ignored_beside_object |= other.ignored_beside_object

    def problems(self, training: bool) -> dict[str, list[str]]:
        """Kind of problem -> lines. A set that is not trained on may show the background
        alone, which is logged."""
        shown = np.flatnonzero(self.pixels[: self.classes])
        if self.classes < 2 or not self.pixels.any():
            return {}
        if len(shown) == 1 and not training and (shown[0] == 0 or self.classes > 2):
            print_log(
                f'{self.what} show class {shown[0]} only: scores of the others say nothing.',
                'current',
                logging.WARNING,
            )
            return {}
        if len(shown) < 2:
            return {ONE_CLASS: [f'{self.what}: {listing(self.pixels)}']}
        if self.classes == 2 and self.only_ignored and not self.ignored_beside_object:
            return {
                ENCODINGS: [
                    f'{path}: values 0 and {self.ignore}, or {self.ignore} alone'
                    for path in self.only_ignored
                ]
            }
        return {}


def listing(counts: np.ndarray) -> str:
    """The values that occur, and how often."""
    values = np.flatnonzero(counts)
    listed = ', '.join(f'{value} ({counts[value]} pixels)' for value in values[:VALUES_LISTED])
    return listed + (
        f' and {len(values) - VALUES_LISTED} other values' if len(values) > VALUES_LISTED else ''
    )
