from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from ..measures.structure import level_counts, s_measure
from ..measures.threshold import at_or_above, e_measure, f_measure
from ..measures.weighted_f import weighted_f
from ..registry import METRICS
from .sample import UNLABELLED, ground_truth, labelled, probability, require_binary, to_8bit


@METRICS.register_module()
class SaliencyMetric(BaseMetric):
    """Measures of salient and camouflaged object detection, averaged over images.

    In percent: ``S`` (alpha = 0.5), ``wF`` (beta^2 = ``wf_beta2``), and E- and F-measure (beta^2 =
    0.3) as ``_mean`` and ``_max`` over 256 thresholds of the data set's mean curve, and ``_adp`` at
    twice the map's mean. ``MAE`` is a fraction, lower is better. The numbers are those of
    PySODMetrics on the maps stored as 8-bit PNG. Its conventions on extreme masks hold: an empty
    mask has F = wF = 0 whatever is predicted, and E of a perfect map is ``n / (n - 1)`` for n
    pixels. Images without a valid pixel take no part.

    Args:
        normalize: What is done to each 8-bit map, over its valid pixels. 'minmax', the field's
            convention, stretches it to [0, 1] (a constant map is kept), which hides a lack of
            confidence; 'none' takes the model's probabilities. Numbers of the two are not
            comparable.
        wf_beta2: Of the weighted F-measure. 1 is its authors'; AutoGluon's program has 0.3.
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
        wf_beta2: float = 1.0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ):
        super().__init__(collect_device, prefix)
        if normalize not in ('minmax', 'none'):
            raise ValueError(f"normalize is {normalize!r}, expected 'minmax' or 'none'.")
        if not 0 < wf_beta2 < np.inf:
            raise ValueError(f'wf_beta2={wf_beta2} of SaliencyMetric: expected a positive number.')
        self.normalize, self.ignore_index, self.wf_beta2 = normalize, ignore_index, wf_beta2

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            require_binary(sample, self.ignore_index)
            target, valid = ground_truth(sample, 1, self.ignore_index)
            levels = to_8bit(probability(sample, target.shape))
            target, valid = target.cpu().numpy(), valid.cpu().numpy()
            self.results.append(
                image_measures(levels, target, valid, self.normalize, self.wf_beta2)
                if valid.any()
                else UNLABELLED
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
    levels: np.ndarray,
    target: np.ndarray,
    valid: np.ndarray,
    normalize: str,
    beta2: float = 1.0,
) -> dict[str, np.ndarray]:
    """All measures of one image as fractions; ``E_curve`` and ``F_curve`` are ``(256,)``.

    Args:
        levels: uint8 ``(H, W)``.
        target: bool ``(H, W)``, False where not valid.
        valid: bool ``(H, W)``.
        normalize: 'minmax' or 'none'.
        beta2: Of ``wF``.
    """
    counts = level_counts(levels, target, valid)
    outside, inside = counts.sum(0)
    values, both = np.arange(256) / 255, outside + inside
    low, high = values[np.flatnonzero(both)[[0, -1]]]
    if normalize == 'minmax' and low < high:
        values = np.clip((values - low) / (high - low), 0, 1)  # levels beyond are not valid

    positives, total = int(inside.sum()), int(both.sum())
    found = values >= min(2 * both @ values / total, 1)
    adaptive = inside[found].sum(), outside[found].sum()
    grey = (255 * values).astype(np.int64)  # truncated, as PySODMetrics does
    true, false = (
        at_or_above(np.bincount(grey, weights=one, minlength=256).astype(np.int64))
        for one in (inside, outside)
    )
    return dict(
        S=s_measure(counts, values),
        wF=weighted_f(values[levels], target, valid, beta2),
        MAE=(inside @ (1 - values) + outside @ values) / total,
        E_adp=e_measure(*adaptive, positives, total),
        E_curve=e_measure(true, false, positives, total),
        F_adp=f_measure(*adaptive, positives),
        F_curve=f_measure(true, false, positives),
    )
