from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from ..registry import METRICS
from .sample import UNLABELLED, ground_truth, labelled, prediction, require_binary


@METRICS.register_module()
class BinaryMetric(BaseMetric):
    """Dice, IoU (Jaccard) and balanced error rate of one class against the rest, in percent.

    With true and false positives and negatives (TP, FP, FN, TN) counted over valid pixels::

        Dice = 2 TP / (2 TP + FP + FN)      IoU = TP / (TP + FP + FN)
        BER  = 1 - (TP / (TP + FN) + TN / (TN + FP)) / 2

    ``Dice`` and ``IoU`` are computed per image and averaged (ISIC, leaf disease, roads).
    ``Dice_pooled`` and ``IoU_pooled`` come from counts summed over the data set, another number:
    large objects weigh more. ``BER`` is always pooled, and NaN if the set has no foreground or no
    background. An empty mask predicted empty has Dice = IoU = 1. Images without a valid pixel take
    no part.

    Args:
        foreground: Class index scored against all others. None is class 1 of two, and no other may
            be labelled.
        ignore_index: Label of the pixels that take no part.

    Raises:
        ValueError: in evaluation, for another label where there are two classes, naming the file;
            and without any valid pixel.
    """

    default_prefix = ''
    better = dict(
        Dice='higher', IoU='higher', Dice_pooled='higher', IoU_pooled='higher', BER='lower'
    )
    """Whether 'higher' or 'lower' is better, by the name of each result."""

    def __init__(
        self,
        foreground: int | None = None,
        ignore_index: int = 255,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.foreground, self.ignore_index = foreground, ignore_index

    @property
    def scored(self) -> int:
        """The class that is scored."""
        return 1 if self.foreground is None else self.foreground

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            if self.foreground is None:
                require_binary(sample, self.ignore_index)
            target, valid = ground_truth(sample, self.scored, self.ignore_index)
            pred = prediction(sample, self.scored, target.shape).to(target.device)[valid]
            target = target[valid]
            counts = [
                (a & b).sum().item()
                for a, b in ((pred, target), (pred, ~target), (~pred, target), (~pred, ~target))
            ]
            self.results.append(counts if target.numel() else UNLABELLED)

    def compute_metrics(self, results: list) -> dict[str, float]:
        counts = np.array(labelled(results), dtype=np.float64)
        tp, fp, fn, tn = counts.sum(0)
        with np.errstate(invalid='ignore'):
            ber = 1 - (tp / (tp + fn) + tn / (tn + fp)) / 2
        values = dict(
            Dice=dice(counts).mean(),
            IoU=iou(counts).mean(),
            Dice_pooled=dice(counts.sum(0)),
            IoU_pooled=iou(counts.sum(0)),
            BER=ber,
        )
        return {name: 100 * float(value) for name, value in values.items()}


def iou(counts: np.ndarray) -> np.ndarray:
    """``(..., 4)`` counts -> ``(...)``; nothing to find and nothing found is 1."""
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    union = tp + fp + fn
    return np.where(union > 0, tp / np.maximum(union, 1), 1.0)


def dice(counts: np.ndarray) -> np.ndarray:
    jaccard = iou(counts)
    return 2 * jaccard / (1 + jaccard)
