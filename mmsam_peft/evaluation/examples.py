"""A few images with the best, the middle and the worst scores, chosen while a set is evaluated.

Of a set of any size, only a bounded number of small predictions is held.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

LONGEST = 320
"""Pixels of the longer side of what is kept."""
SAMPLED = 128
"""Images spread over the set, among which the middle ones are chosen."""


@dataclass(order=True)
class Example:
    """One image. ``prediction`` and ``truth`` (c, h, w) are as ``small`` makes them."""

    score: float
    shown: float
    """Share of its labelled pixels that are not background: of equal scores, more is shown."""
    path: str
    prediction: np.ndarray = field(compare=False)
    truth: np.ndarray = field(compare=False)
    group: str = field(default='', compare=False)


class Examples:
    """Takes images as they come.

    Args:
        number: How many of each group.
        higher: Whether a higher score is better.
    """

    def __init__(self, number: int, higher: bool) -> None:
        self.number, self.sign = number, 1 if higher else -1
        self.highest: list[tuple] = []
        self.lowest: list[tuple] = []
        self.spread: list[Example] = []
        self.seen, self.stride = 0, 1

    def offer(self, score: float, shown: float, path: str, make: Callable[[], tuple]) -> None:
        """``make()`` gives prediction and truth; it is called only where the image is kept."""
        index, self.seen = self.seen, self.seen + 1
        if not np.isfinite(score):
            return
        up, down = (self.sign * score, shown, -index), (-self.sign * score, shown, -index)
        sampled = index % self.stride == 0
        if not (sampled or self._enters(self.highest, up) or self._enters(self.lowest, down)):
            return
        example = Example(score, shown, path, *make())
        for heap, key in ((self.highest, up), (self.lowest, down)):
            if self._enters(heap, key):
                heapq.heappush(heap, (*key, example))
                if len(heap) > self.number:
                    heapq.heappop(heap)
        if sampled:
            self.spread.append(example)
            if len(self.spread) > SAMPLED:
                del self.spread[1::2]
                self.stride *= 2

    def _enters(self, heap: list[tuple], key: tuple) -> bool:
        return len(heap) < self.number or key > heap[0][:3]

    def candidates(self, middle: float) -> list[Example]:
        """Of this process: for each group as many as wanted, with those near the score
        ``middle``."""
        near = sorted(self.spread, key=lambda one: (abs(one.score - middle), -one.shown))
        ends = [entry[3] for entry in (*self.highest, *self.lowest)]
        return [*ends, *near[: 3 * self.number]]


def choose(
    candidates: Iterable[Example], number: int, higher: bool, middle: float
) -> list[Example]:
    """Best, middle and worst, each image once; fewer of each where there are few."""
    known = {one.path: one for one in candidates}
    sign = 1 if higher else -1
    left = sorted(known.values(), key=lambda one: (-sign * one.score, -one.shown, one.path))
    number = min(number, max(1, len(left) // 3))
    groups = {'best': left[:number]}
    rest = left[number:]
    groups['worst'] = sorted(rest, key=lambda one: (sign * one.score, -one.shown, one.path))
    groups['worst'] = groups['worst'][:number]
    rest = [one for one in rest if one not in groups['worst']]
    rest.sort(key=lambda one: (abs(one.score - middle), -one.shown, one.path))
    groups['median'] = rest[:number]
    for name, members in groups.items():
        for one in members:
            one.group = name
    return [*groups['best'], *groups['median'], *groups['worst']]


def small(values: Tensor) -> np.ndarray:
    """(c, H, W) -> (c, h, w), at most ``LONGEST`` high and wide: the values at pixels spread
    evenly."""
    scale = min(1, LONGEST / max(values.shape[-2:]))
    for axis in (-2, -1):
        length = values.shape[axis]
        kept = max(1, round(scale * length))
        places = ((torch.arange(kept) + 0.5) * length / kept).long().to(values.device)
        values = values.index_select(axis, places)
    if values.is_floating_point():
        return values.float().cpu().numpy().astype(np.float16)
    return values.cpu().numpy().astype(np.uint8)
