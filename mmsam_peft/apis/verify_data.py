"""Whether a data set is there as it was published."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.registry import DefaultScope

from ..datasets import DatasetError, MultiTaskDataset, PublishedDataset, check_dataset
from ..datasets.published import SPLITS
from ..registry import DATASETS
from .configs import read_config


def verify_data(
    config: str | Path, data_root: str | None = None
) -> Iterator[tuple[str, str, bool]]:
    """(split, what was found or what is wrong, whether all is well) of each split of a data set.

    Counts are compared with the published ones, every image is read with its mask or labels, and
    their sizes and values are compared. What is wrong with one split does not hide the others.

    Args:
        config: ``configs/_base_/datasets/NAME.py``, or any config with data.
        data_root: instead of the config's.
    """
    read = read_config(config)
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        for split in SPLITS:
            settings = dict(read[f'{split}_dataloader'].dataset)
            settings.pop('pipeline', None)
            if data_root:
                settings['data_root'] = data_root
            yield (split, *_verified(settings, training=split == 'train'))


def _verified(settings: dict, training: bool) -> tuple[str, bool]:
    kind, found = DATASETS.get(settings['type']), []
    try:
        dataset = DATASETS.build(settings)
    except DatasetError as error:
        if not issubclass(kind, PublishedDataset):
            return str(error), False
        found.append(str(error))
        try:
            dataset = DATASETS.build({**settings, 'allow_partial': True})
        except DatasetError:
            return str(error), False
    try:
        check_dataset(dataset, training=training)
    except DatasetError as error:
        found.append(str(error))
    labels = 'labels' if isinstance(dataset, MultiTaskDataset) else 'masks'
    parts = ''.join(
        f'\n    {part.name or "from"} {part.images}' for part in getattr(dataset, 'parts', ())
    )
    good = f'{len(dataset)} images with {labels} of their sizes{parts}'
    return '\n'.join(found) or good, not found
