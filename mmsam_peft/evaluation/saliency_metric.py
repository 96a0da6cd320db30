from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from ..measures.structure import s_measure, weighted_f
from ..measures.threshold import counts_at_thresholds, e_measure, f_measure
from ..registry import METRICS
from .sample import UNLABELLED, ground_truth, labelled, probability, require_binary, to_8bit


@METRICS.register_module()
class SaliencyMetric(BaseMetric):
    """Measures of salient and camouflaged object detection, averaged over images.

    In percent: ``S`` (alpha = 0.5), ``wF`` (beta^2 = 1), and E- and F-measure (beta^2 = 0.3) as
    ``_mean`` and ``_max`` over 256 thresholds of the data set's mean curve, and ``_adp`` at twice
    the map's mean. ``MAE`` is a fraction, lower is better. The numbers are those of PySODMetrics on
    the maps stored as 8-bit PNG. Its conventions on extreme masks hold: an empty mask has F = wF =
    0 whatever is predicted, and E of a perfect map is ``n / (n - 1)`` for n pixels. Images without
    a valid pixel take no part.

    Args:
        normalize: What is done to each 8-bit map, over its valid pixels. 'minmax', the field's
            convention, stretches it to [0, 1] (a constant map is kept), which hides a lack of
            confidence; 'none' takes the model's probabilities. Numbers of the two are not
            comparable.
        ignore_index: Label of the pixels that take no part.

    Raises:
        ValueError: for another ``normalize``; in evaluation, for labels that are neither 0, 1 nor
            ignored, naming the file.
    """

    default_prefix = ''
    better = dict.fromkeys(
        ('S', 'wF', 'E_mean', 'E_max', 'E_adp', 'F_mean', 'F_max', 'F_adp'), 'higher'
    ) | dict(MAE='lower')
    """Whether 'higher' or 'lower' is better, by the name of each result."""

    def __init__(
        self,
        normalize: str = 'minmax',
        ignore_index: int = 255,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ):
        super().__init__(collect_device, prefix)
        if normalize not in ('minmax', 'none'):
            raise ValueError(f"normalize is {normalize!r}, expected 'minmax' or 'none'.")
        self.normalize, self.ignore_index = normalize, ignore_index

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            require_binary(sample, self.ignore_index)
            target, valid = ground_truth(sample, 1, self.ignore_index)
            levels = to_8bit(probability(sample, target.shape))
            target, valid = target.cpu().numpy(), valid.cpu().numpy()
            self.results.append(
                image_measures(levels, target, valid, self.normalize) if valid.any() else UNLABELLED
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        results = labelled(results)
        mean = {name: np.mean([result[name] for result in results], axis=0) for name in results[0]}
        percent = dict(S=mean['S'], wF=mean['wF'])
        for name in 'EF':
            curve = mean[f'{name}_curve']
            percent |= {
                f'{name}_mean': curve.mean(),
                f'{name}_max': curve.max(),
                f'{name}_adp': mean[f'{name}_adp'],
            }
        return {name: 100 * float(value) for name, value in percent.items()} | dict(
            MAE=float(mean['MAE'])
        )


def image_measures(
    levels: np.ndarray, target: np.ndarray, valid: np.ndarray, normalize: str
) -> dict[str, np.ndarray]:
    """All measures of one image as fractions; ``E_curve`` and ``F_curve`` are ``(256,)``.

    Args:
        levels: uint8 ``(H, W)``.
        target: bool ``(H, W)``, False where not valid.
        valid: bool ``(H, W)``.
        normalize: 'minmax' or 'none'.
    """
    pred = levels / 255
    low, high = pred[valid].min(), pred[valid].max()
    if normalize == 'minmax' and low < high:
        pred = (pred - low) / (high - low)

    values, mask = pred[valid], target[valid]
    positives, total = int(mask.sum()), mask.size
    found = values >= min(2 * values.mean(), 1)
    adaptive = (found & mask).sum(), (found & ~mask).sum()
    curve = counts_at_thresholds(
        (255 * values).astype(np.uint8), mask
    )  # truncated, as PySODMetrics does
    return dict(
        S=s_measure(pred, target, valid),
        wF=weighted_f(pred, target, valid),
        MAE=np.abs(values - mask).mean(),
        E_adp=e_measure(*adaptive, positives, total),
        E_curve=e_measure(*curve, positives, total),
        F_adp=f_measure(*adaptive, positives),
        F_curve=f_measure(*curve, positives),
    )
