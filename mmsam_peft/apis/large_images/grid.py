"""Where windows lie along an axis, and which pixels of the file each of them tells about."""

from functools import cached_property

import numpy as np


class Axis:
    """Windows as MMSegmentation slides them: the last one is moved back, to end with the picture.

    A picture that the network sees at another scale than the file's has windows in its own pixels;
    what they say is interpolated, linearly, to the pixels of the file.

    Args:
        pixels: Of the file.
        scaled: Of the picture as the network sees it.
        window, stride: In pixels of that picture.

    Raises:
        ValueError: Windows that leave gaps.
    """

    def __init__(self, pixels: int, scaled: int, window: int, stride: int) -> None:
        if not 1 <= stride <= window:
            raise ValueError(
                f'windows of {window} pixels with a stride of {stride}: expected a stride from 1 '
                f'to {window}, as no pixel may be left out.'
            )
        self.pixels, self.scaled, self.window = pixels, scaled, min(window, scaled)
        number = max(scaled - window + stride - 1, 0) // stride + 1
        self.starts = [min(i * stride, scaled - self.window) for i in range(number)]

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def shares(self) -> np.ndarray:
        """(scaled,): one over the number of windows at each pixel of the picture."""
        number = np.zeros(self.scaled, np.int64)
        for start in self.starts:
            number[start : start + self.window] += 1
        return (1 / number).astype(np.float32)

    @cached_property
    def taps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each pixel of the file its two neighbours in the picture, and the second's weight."""
        place = (np.arange(self.pixels) + 0.5) * self.scaled / self.pixels - 0.5
        place = np.clip(place, 0, None)
        left = place.astype(np.int64)
        return left, np.minimum(left + 1, self.scaled - 1), (place - left).astype(np.float32)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """The pixels of the file that each window tells about."""
        if self.scaled == self.pixels:
            return [(start, start + self.window) for start in self.starts]
        left, right, _ = self.taps
        return [
            (int(np.searchsorted(right, start)), int(np.searchsorted(left, start + self.window)))
            for start in self.starts
        ]

    def stretch(self, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """How the pixels of a window's span come from the window's: twice its indices, and their
        weights."""
        start, span = self.starts[number], slice(*self.spans[number])
        left, right, share = (one[span] for one in self.taps)
        found = []
        for index, weight in ((left, 1 - share), (right, share)):
            inside = (index >= start) & (index < start + self.window)
            found.append((np.clip(index - start, 0, self.window - 1), weight * inside))
        return found

    def seen(self, number: int, support: float) -> tuple[int, int]:
        """The pixels of the file that a window needs, its span among them.

        Args:
            support: Of the filter that scales the picture, in pixels of the coarser side.
        """
        first, end = self.spans[number]
        if self.scaled == self.pixels:
            return first, end
        ratio, start = self.pixels / self.scaled, self.starts[number]
        reach = support * max(ratio, 1) + 1
        low = min(first, int(start * ratio - reach))
        high = max(end, int(np.ceil((start + self.window) * ratio + reach)))
        return max(low, 0), min(high, self.pixels)

    @cached_property
    def cells(self) -> list[tuple[int, int]]:
        """The pixels of the file, cut wherever a window begins or ends."""
        cuts = sorted({end for span in self.spans for end in span})
        return list(zip(cuts, cuts[1:], strict=False))

    @cached_property
    def cells_of(self) -> list[range]:
        """The numbers of the cells of each window."""
        at = {first: i for i, (first, _) in enumerate(self.cells)} | {self.pixels: len(self.cells)}
        return [range(at[first], at[end]) for first, end in self.spans]

    @cached_property
    def last(self) -> list[int]:
        """The last window of each cell, after which all is known of it."""
        last = [0] * len(self.cells)
        for number, cells in enumerate(self.cells_of):
            for cell in cells:
                last[cell] = number
        return last
