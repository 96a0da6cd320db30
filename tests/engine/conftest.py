from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

from mmsam_peft.models.backbones import SAMViT

TINY = Path(__file__).parents[1] / 'data' / 'tiny.py'
NUMBERS = count()


def write_discs(root: Path, split: str, number: int) -> None:
    """Noisy pictures with a bright disc, and their masks."""
    for kind in ('img_dir', 'ann_dir'):
        (root / kind / split).mkdir(parents=True)
    rows, cols = np.mgrid[:64, :64]
    for i in range(number):
        rng = np.random.default_rng(i)
        (row, col), radius = rng.integers(16, 48, 2), rng.integers(8, 16)
        disc = (rows - row) ** 2 + (cols - col) ** 2 < radius**2
        image = rng.integers(0, 100, (64, 64, 3)) + 150 * disc[..., None]
        Image.fromarray(image.astype(np.uint8)).save(root / 'img_dir' / split / f'{i}.png')
        Image.fromarray(disc.astype(np.uint8)).save(root / 'ann_dir' / split / f'{i}.png')


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """What tests/data/tiny.py wants in TINY_ROOT: 6 + 2 pairs of pictures and masks, and the
    encoder's base weights."""
    monkeypatch.setenv('TINY_ROOT', str(tmp_path))
    write_discs(tmp_path, 'train', 6)
    write_discs(tmp_path, 'val', 2)
    torch.manual_seed(0)
    encoder = SAMViT(Config.fromfile(TINY).model.backbone.arch, img_size=64)
    torch.save(
        {f'image_encoder.{key}': value for key, value in encoder.state_dict().items()},
        tmp_path / 'base.pth',
    )
    return tmp_path


@pytest.fixture
def scope():
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        yield


@pytest.fixture
def make_runner(root, scope, monkeypatch) -> Callable[..., Runner]:
    """``make_runner({'resume': True})``: a runner of tests/data/tiny.py, 3 iterations an epoch,
    sharing nothing with others."""
    monkeypatch.setattr(
        Config, 'pretty_text', property(str)
    )  # formatting it would take most of the time

    def make(options: dict | None = None) -> Runner:
        config = Config.fromfile(TINY)
        config.merge_from_dict(options or {})
        config.experiment_name = config.visualizer.name = f'engine_test_{next(NUMBERS)}'
        return Runner.from_cfg(config)

    return make
