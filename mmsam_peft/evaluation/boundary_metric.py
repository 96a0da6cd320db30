from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from ..measures.boundary import boundary_counts
from ..registry import METRICS
from .sample import UNLABELLED, ground_truth, labelled, prediction


@METRICS.register_module()
class BoundaryMetric(BaseMetric):
    """Boundary IoU in percent: the IoU of what lies near the borders of predicted and labelled
    masks, which the inside of large objects does not hide (Cheng et al., CVPR 2021).

    Of two classes ``BoundaryIoU`` is that of class 1, the mean over images, and
    ``BoundaryIoU_pooled`` comes from counts summed over the data set; an empty mask predicted empty
    has 1. Of more, ``mBoundaryIoU`` is the mean over the classes that occur, from summed counts;
    ``BoundaryIoU/CLASS`` is that of each.

    Args:
        num_classes: The model's.
        dilation_ratio: How far a boundary reaches into a mask, as a share of the image's diagonal;
            0.02 is the authors'.
        ignore_index: Label of the pixels that take no part.

    Raises:
        ValueError: for fewer than two classes, or a ratio that is not between 0 and 1.
    """

    default_prefix = ''

    def __init__(
        self,
        num_classes: int = 2,
        dilation_ratio: float = 0.02,
        ignore_index: int = 255,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        if num_classes < 2 or not 0 < dilation_ratio < 1:
            raise ValueError(
                f'BoundaryMetric has num_classes={num_classes}, dilation_ratio={dilation_ratio}: '
                'expected at least 2 classes, and a ratio between 0 and 1.'
            )
        self.num_classes, self.dilation_ratio = num_classes, dilation_ratio
        self.ignore_index = ignore_index

    @property
    def better(self) -> dict[str, str]:
        """Whether 'higher' or 'lower' is better, by the name of each result."""
        return dict.fromkeys(names(self.num_classes), 'higher')

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        scored = [1] if self.num_classes == 2 else range(self.num_classes)
        for sample in data_samples:
            self.results.append([self._count(sample, one) for one in scored])
            if None in self.results[-1]:
                self.results[-1] = UNLABELLED

    def _count(self, sample: dict, scored: int) -> tuple[int, int] | None:
        target, valid = ground_truth(sample, scored, self.ignore_index)
        pred = prediction(sample, scored, target.shape)
        target, valid, pred = (one.cpu().numpy() for one in (target, valid, pred))
        if not valid.any():
            return None
        if not target.any() and not pred.any():
            return 0, 0
        return boundary_counts(pred, target, valid, self.dilation_ratio)

    def compute_metrics(self, results: list) -> dict[str, float]:
        counts = np.array(labelled(results), np.float64)
        sums = {name: one.sum(0) for name, one in image_scores(counts).items()}
        found = scores_of_sums(sums, len(counts))
        if self.num_classes > 2:
            classes = (self.dataset_meta or {}).get('classes') or range(self.num_classes)
            each = class_scores(sums)
            found |= {
                f'BoundaryIoU/{name}': float(value)
                for name, value in zip(classes, each, strict=True)
                if np.isfinite(value)
            }
        return found


def names(num_classes: int) -> tuple[str, ...]:
    return ('BoundaryIoU', 'BoundaryIoU_pooled') if num_classes == 2 else ('mBoundaryIoU',)


def image_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """What is added up over images, from their counts (n, classes, 2) in both boundaries and in
    either: ``counts``, and ``IoU`` (n, classes), fractions."""
    both, either = np.moveaxis(counts, -1, 0)
    return dict(counts=counts, IoU=np.where(either > 0, both / np.maximum(either, 1), 1.0))


def scores_of_sums(sums: dict[str, np.ndarray], images: float) -> dict[str, float]:
    """In percent, from the sums of ``image_scores`` over so many images; NaN where no class
    occurs."""
    each = class_scores(sums)
    if len(each) > 1:
        known = each[np.isfinite(each)]
        return dict(mBoundaryIoU=float(known.mean()) if known.size else np.nan)
    pooled = 100.0 if np.isnan(each[0]) else float(each[0])
    return dict(BoundaryIoU=100 * float(sums['IoU'][0]) / images, BoundaryIoU_pooled=pooled)


def class_scores(sums: dict[str, np.ndarray]) -> np.ndarray:
    """In percent, (classes,); NaN for a class that does not occur."""
    both, either = np.moveaxis(sums['counts'], -1, 0)
    with np.errstate(invalid='ignore', divide='ignore'):
        return 100 * both / either
