import mmseg.evaluation
import torch

from ..registry import METRICS


@METRICS.register_module()
class IoUMetric(mmseg.evaluation.IoUMetric):
    """MMSegmentation's, by the same name, with ``IoU/CLASS`` among its results, in percent, which
    MMSegmentation only logs as a table. A class that is neither labelled nor predicted has none.
    All are Python's numbers; MMSegmentation's are NumPy's, with single precision."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        found = super().compute_metrics(results)
        if self.format_only:
            return found
        right, union = (torch.stack([one[i] for one in results]).double().sum(0) for i in (0, 1))
        scores = {name: round(float(value), 2) for name, value in found.items()}
        return scores | {
            f'IoU/{name}': round(100 * (one / whole).item(), 2)
            for name, one, whole in zip(self.dataset_meta['classes'], right, union, strict=True)
            if whole
        }
