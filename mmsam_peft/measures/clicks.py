"""Clicks that correct a mask, and how many of them a good mask takes. Masks are bool (H, W)."""

from collections.abc import Collection, Sequence

import cv2
import numpy as np

Click = tuple[int, int, int]
"""x, y, and 1 on the object or 0 beside it."""


def objects_of(
    mask: np.ndarray, least: int = 1, instances: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """The objects of a mask: its connected parts, neighbours along diagonals included, or what
    ``instances`` (H, W) tells apart, 0 for none.

    Returns:
        Their numbers (H, W) int32, 1 to n, 0 elsewhere; and n. Those of fewer than ``least`` pixels
        are left out.
    """
    if instances is None:
        _, numbers, stats, _ = cv2.connectedComponentsWithStats(
            mask.astype(np.uint8), connectivity=8
        )
        kept = stats[:, cv2.CC_STAT_AREA] >= least
        kept[0] = False
    else:
        found, numbers, areas = np.unique(
            np.where(mask, instances, 0), return_inverse=True, return_counts=True
        )
        numbers = numbers.reshape(mask.shape)
        kept = (areas >= least) & (found != 0)
    table = np.where(kept, kept.cumsum(), 0).astype(np.int32)
    return table[numbers], int(kept.sum())


def robot_click(
    prediction: np.ndarray,
    target: np.ndarray,
    valid: np.ndarray | None = None,
    taken: Collection[tuple[int, int]] = (),
) -> Click | None:
    """Where the standard robot user clicks next: the pixel that is farthest from the border of what
    is missing or too much, whichever has the farther one; the border of the image is a border too.
    None where nothing is wrong, or all of it is ``taken`` by earlier clicks (x, y).

    Source: Sofiiuk et al., Reviving Iterative Training with Mask Guidance for Interactive
    Segmentation (ICIP 2022, arXiv 2102.06583), the evaluation of the authors' program.
    """
    found = []
    for wrong in errors(prediction, target, valid):
        padded = np.pad(wrong.astype(np.uint8), 1)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        for x, y in taken:
            depth[y, x] = 0
        place = int(depth.argmax())
        found.append((float(depth.flat[place]), place))
    (missing, place), (surplus, other) = found
    if max(missing, surplus) == 0:
        return None
    on_object = missing > surplus
    y, x = divmod(place if on_object else other, target.shape[1])
    return x, y, int(on_object)


def random_click(
    prediction: np.ndarray,
    target: np.ndarray,
    rng: np.random.Generator,
    valid: np.ndarray | None = None,
) -> Click | None:
    """A click anywhere in the largest connected error, as training draws them. None where nothing
    is wrong."""
    largest, where, label = 0, None, 0
    for wrong, positive in zip(errors(prediction, target, valid), (1, 0), strict=True):
        _, numbers, stats, _ = cv2.connectedComponentsWithStats(
            wrong.astype(np.uint8), connectivity=8
        )
        areas = stats[1:, cv2.CC_STAT_AREA]
        if len(areas) and areas.max() > largest:
            largest, label = int(areas.max()), positive
            where = numbers == 1 + int(areas.argmax())
    if where is None:
        return None
    return *random_pixel(where, rng), label


def random_pixel(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """x, y of a pixel of a mask that has one, each as likely."""
    pixels = np.flatnonzero(mask)
    y, x = divmod(int(pixels[rng.integers(len(pixels))]), mask.shape[1])
    return x, y


def errors(
    prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What is missing and what is too much, among the valid pixels."""
    missing, surplus = target & ~prediction, prediction & ~target
    return (missing, surplus) if valid is None else (missing & valid, surplus & valid)


def iou_of(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> float:
    """IoU of two masks among the valid pixels; 1 where both are empty."""
    both, either = prediction & target, prediction | target
    if valid is not None:
        both, either = both & valid, either & valid
    union = np.count_nonzero(either)
    return np.count_nonzero(both) / union if union else 1.0


def number_of_clicks(ious: Sequence[float], threshold: float) -> int:
    """NoC: after how many clicks the IoU is at least ``threshold``, of the IoU after each of them;
    all of them where it never is."""
    reached = np.flatnonzero(np.asarray(ious) >= threshold)
    return int(reached[0]) + 1 if len(reached) else len(ious)
