"""Scores of several test sets that are tested together."""

from collections.abc import Sequence

from mmengine.evaluator import BaseMetric

from ..registry import METRICS


@METRICS.register_module()
class PerSetMetric(BaseMetric):
    """Metrics for each test set by itself, ``SET/METRIC``, where a data set has several: polyps are
    tested on Kvasir and CVC-612, camouflage on CAMO and COD10K. Nothing is pooled.

    Which set an image belongs to says the data set: ``metainfo['sets']``, its folder by name.

    Args:
        metrics: configs of the metrics.

    Raises:
        ValueError: in evaluation, where the data set names no sets, or an image is in none.
    """

    default_prefix = ''

    def __init__(
        self,
        metrics: dict | Sequence[dict],
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        several = [metrics] if isinstance(metrics, dict) else metrics
        self.metrics = [METRICS.build(metric) for metric in several]

    @property
    def dataset_meta(self) -> dict | None:
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict | None) -> None:
        self._dataset_meta = meta
        for metric in self.metrics:
            metric.dataset_meta = meta

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            found = []
            for metric in self.metrics:
                metric.results = []
                metric.process(data_batch, [sample])
                found.append(metric.results)
            self.results.append((self._set_of(sample), found))

    def _set_of(self, sample: dict) -> str:
        sets = (self.dataset_meta or {}).get('sets') or {}
        path = sample['img_path']
        for name, folder in sets.items():
            if path.startswith(f'{folder}/'):
                return name
        raise ValueError(
            f'{path} is in none of the test sets {dict(sets)}: PerSetMetric scores data sets that '
            'name several test sets; use its metrics without it for others.'
        )

    def compute_metrics(self, results: list) -> dict[str, float]:
        scores = {}
        for name in self.dataset_meta['sets']:
            of_set = [found for where, found in results if where == name]
            for number, metric in enumerate(self.metrics):
                gathered = [one for found in of_set for one in found[number]]
                prefix = f'{name}/{metric.prefix}' if metric.prefix else name
                for key, value in metric.compute_metrics(gathered).items() if gathered else ():
                    scores[f'{prefix}/{key}'] = value
        return scores
