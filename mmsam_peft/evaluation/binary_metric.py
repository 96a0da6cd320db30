from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from ..registry import METRICS
from .sample import UNLABELLED, ground_truth, labelled, prediction, probability, require_binary

EMPTY = dict(one=1.0, zero=0.0, skip=np.nan)
"""What an image counts that has nothing to find and in which nothing is found."""


@METRICS.register_module()
class BinaryMetric(BaseMetric):
    """Dice, IoU (Jaccard) and balanced error rate of one class against the rest, in percent.

    With true and false positives and negatives (TP, FP, FN, TN) counted over valid pixels::

        Dice = 2 TP / (2 TP + FP + FN)      IoU = TP / (TP + FP + FN)
        BER  = 1 - (TP / (TP + FN) + TN / (TN + FP)) / 2

    ``Dice`` and ``IoU`` are computed per image and averaged (ISIC, leaf disease, roads).
    ``Dice_pooled`` and ``IoU_pooled`` come from counts summed over the data set, another number:
    large objects weigh more. ``BER`` is pooled, and NaN if the set has no foreground or no
    background. ``BER_per_image``, as public programs for shadows compute it, is the mean over
    images; in one that lacks foreground (or background), that half counts as wrong if a pixel of it
    is predicted, and is left out otherwise. Images without a valid pixel take no part.

    Args:
        foreground: Class index scored against all others. None is class 1 of two, and no other may
            be labelled.
        ignore_index: Label of the pixels that take no part.
        empty: What Dice and IoU are of an image with an empty mask in which nothing is predicted:
            'one'; 'zero', as in torchmetrics; or 'skip': it takes no part in these two means.
        ber_threshold: Probability above which a pixel is foreground in both error rates; None
            leaves it to the model, as all others do. Public programs for shadows have 125 / 255.

    Raises:
        ValueError: for another ``empty``, or a ``ber_threshold`` for one class of several; in
            evaluation, for another label where there are two classes, naming the file, and without
            any valid pixel.
    """

    default_prefix = ''
    better = dict(
        Dice='higher',
        IoU='higher',
        Dice_pooled='higher',
        IoU_pooled='higher',
        BER='lower',
        BER_per_image='lower',
    )
    """Whether 'higher' or 'lower' is better, by the name of each result."""

    def __init__(
        self,
        foreground: int | None = None,
        ignore_index: int = 255,
        empty: str = 'one',
        ber_threshold: float | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        if empty not in EMPTY:
            raise ValueError(
                f'empty={empty!r} of BinaryMetric: expected one of {", ".join(map(repr, EMPTY))}.'
            )
        if ber_threshold is not None and (foreground is not None or not 0 <= ber_threshold < 1):
            raise ValueError(
                f'ber_threshold={ber_threshold} of BinaryMetric, foreground={foreground}: expected '
                'a probability from 0 to 1, of one class against the background (foreground=None).'
            )
        self.foreground, self.ignore_index = foreground, ignore_index
        self.empty, self.ber_threshold = empty, ber_threshold

    @property
    def scored(self) -> int:
        """The class that is scored."""
        return 1 if self.foreground is None else self.foreground

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            if self.foreground is None:
                require_binary(sample, self.ignore_index)
            target, valid = ground_truth(sample, self.scored, self.ignore_index)
            pred = prediction(sample, self.scored, target.shape).to(target.device)
            counts = count_cells(pred, target, valid)
            if counts and self.ber_threshold is not None:
                above = probability(sample, target.shape).to(target.device) > self.ber_threshold
                counts += count_cells(above, target, valid)
            self.results.append(counts or UNLABELLED)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return scores(image_scores(np.array(labelled(results), np.float64), self.empty))


def count_cells(
    pred: torch.Tensor, target: torch.Tensor, valid: torch.Tensor
) -> tuple[int, int, int, int] | None:
    """TP, FP, FN, TN among the valid pixels, all bool (H, W); None without one."""
    pred, target = pred & valid, target & valid
    tp, found, positives, total = torch.stack(
        [one.count_nonzero() for one in (pred & target, pred, target, valid)]
    ).tolist()
    if not total:
        return None
    return tp, found - tp, positives - tp, total - found - positives + tp


def image_scores(counts: np.ndarray, empty: str = 'one') -> dict[str, np.ndarray]:
    """What is added up over images, from their counts (n, 4), or (n, 8) with those for the error
    rates last: ``counts``; as fractions ``Dice`` and ``IoU``, and for how many images they count,
    ``shown``; ``BER_per_image``."""
    jaccard = iou(counts[..., :4], EMPTY[empty])
    shown = np.isfinite(jaccard)
    return dict(
        counts=counts,
        shown=shown.astype(np.float64),
        Dice=np.where(shown, 2 * jaccard / (1 + jaccard), 0),
        IoU=np.where(shown, jaccard, 0),
        BER_per_image=ber_per_image(counts[..., -4:]),
    )


def scores(images: dict[str, np.ndarray]) -> dict[str, float]:
    """In percent, from ``image_scores`` of n images."""
    sums = {name: one.sum(0) for name, one in images.items()}
    return scores_of_sums(sums, len(images['shown']))


def scores_of_sums(sums: dict[str, np.ndarray], images: float) -> dict[str, float]:
    """In percent, from the sums of ``image_scores`` over so many images; NaN where not defined."""
    counts = sums['counts'][:4]
    tp, fp, fn, tn = sums['counts'][-4:]
    with np.errstate(invalid='ignore', divide='ignore'):
        values = dict(
            Dice=sums['Dice'] / sums['shown'],
            IoU=sums['IoU'] / sums['shown'],
            Dice_pooled=dice(counts),
            IoU_pooled=iou(counts),
            BER=1 - (tp / (tp + fn) + tn / (tn + fp)) / 2,
            BER_per_image=sums['BER_per_image'] / images,
        )
    return {name: 100 * float(value) for name, value in values.items()}


def iou(counts: np.ndarray, empty: float = 1.0) -> np.ndarray:
    """``(..., 4)`` counts -> ``(...)``; nothing to find and nothing found is ``empty``."""
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    union = tp + fp + fn
    return np.where(union > 0, tp / np.maximum(union, 1), empty)


def dice(counts: np.ndarray) -> np.ndarray:
    jaccard = iou(counts)
    return 2 * jaccard / (1 + jaccard)


def ber_per_image(counts: np.ndarray) -> np.ndarray:
    """``(..., 4)`` counts -> ``(...)``: one minus the mean recall of the classes that an image has
    or is given."""
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    right, has = np.stack([tp, tn]), np.stack([tp + fn, tn + fp])
    there = np.stack([tp + fn + fp, tn + fp + fn]) > 0
    return 1 - (right / np.maximum(has, 1)).sum(0) / there.sum(0)
