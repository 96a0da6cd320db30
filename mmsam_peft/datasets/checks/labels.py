"""Whether there is anything to compare predictions with."""

from mmengine.dataset import BaseDataset

from ..multi_task import MultiTaskDataset
from .dataset import inner_datasets
from .problems import DatasetError


def require_labels(dataset: BaseDataset) -> None:
    """Raises DatasetError when a data set, or a part of it, names no masks. One of several tasks
    always looks for its labels."""
    for part in inner_datasets(dataset):
        named = isinstance(part, MultiTaskDataset) or any(
            'seg_map_path' in part.get_data_info(i) for i in range(len(part))
        )
        if not named:
            raise DatasetError(
                f'the test set has no labels: {type(part).__name__}, {len(part)} images of '
                f'{part.data_prefix["img_path"]}.\n'
                f'    got       data_prefix={dict(part.data_prefix)}\n'
                '    expected  the folder of the masks, data_prefix.seg_map_path\n'
                '    do        set it; or, for images without masks, python tools/predict.py '
                'CONFIG WEIGHTS IMAGES'
            )
