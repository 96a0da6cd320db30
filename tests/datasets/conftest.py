from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from mmsam_peft.datasets import FolderDataset


@pytest.fixture
def scope():
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        yield


@pytest.fixture
def write(tmp_path):
    """``write('ann_dir/train/a.png', pixels)`` saves an array or a PIL image below the data
    root."""

    def save(name: str, image: np.ndarray | Image.Image, **options) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
        return path

    return save


@pytest.fixture
def write_pair(write):
    """``write_pair('a')``: a random image and a mask of 0 and 1, 6 high and 8 wide, in the split
    ``train``."""

    def save(name: str, mask: np.ndarray | None = None, split: str = 'train') -> tuple[Path, Path]:
        rng = np.random.default_rng(len(name))
        image = write(
            f'img_dir/{split}/{name}.png', rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        )
        return image, write(
            f'ann_dir/{split}/{name}.png', np.eye(6, 8, dtype=np.uint8) if mask is None else mask
        )

    return save


@pytest.fixture
def folder(tmp_path):
    """Builds the FolderDataset of a split, two classes unless told."""

    def build(
        split: str = 'train', classes: tuple[str, ...] = ('background', 'object'), **settings
    ) -> FolderDataset:
        prefix = dict(img_path=f'img_dir/{split}', seg_map_path=f'ann_dir/{split}')
        usual = dict(data_root=str(tmp_path), data_prefix=prefix, metainfo=dict(classes=classes))
        return FolderDataset(**(usual | settings))

    return build
