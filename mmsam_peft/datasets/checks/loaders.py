"""A data set's own readers of files."""

from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset

THREADS = 4
"""That read files while a set is checked."""


def loader_of(
    dataset: BaseDataset, default: type[BaseTransform], *others: type[BaseTransform]
) -> BaseTransform:
    used = [step for step in dataset.pipeline.transforms if isinstance(step, (default, *others))]
    return used[0] if used else default()
