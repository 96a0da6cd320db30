"""Generated images and masks, and a run of ``start`` on them."""

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from mmsam_peft.apis.inference import build_to_count
from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.settings import check_settings
from mmsam_peft.datasets import check_dataset
from mmsam_peft.engine.run_checks import check_config, check_losses
from mmsam_peft.registry import DATASETS
from mmsam_peft.start.start import Request, start

COUNT, SIDE = 12, 96


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        yield


@pytest.fixture
def data(tmp_path) -> Path:
    """Red discs of 24 to 36 px and blue squares of 20 on green; masks of class numbers."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for i in range(COUNT):
        centre = rng.integers(20, SIDE - 20, (2, 1, 1))
        mask = (np.hypot(*(np.stack([y, x]) - centre)) < rng.integers(12, 18)).astype(np.uint8)
        mask[2:22, 2 + 5 * i : 22 + 5 * i] = 2
        image = np.array([[40, 120, 40], [200, 60, 60], [60, 60, 200]])[mask]
        save(tmp_path / f'shapes/images/{i:02d}.png', image + rng.integers(0, 30, image.shape))
        save(tmp_path / f'shapes/masks/{i:02d}_mask.png', mask)
    return tmp_path / 'shapes'


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def begin(data, tmp_path):
    """``begin(option=...)``: the config's path, and what was said."""

    def run(**options) -> tuple[Path, str]:
        said: list[str] = []
        usual = Request(data, out=tmp_path / 'out', encoder='small', timing=False)
        return start(replace(usual, **options), said.append), '\n'.join(said)

    return run


@pytest.fixture
def checked() -> Callable[[Path], Config]:
    """Reads a config as the tools do, after the checks that a training begins with."""

    def check(path: Path) -> Config:
        """The config as the tools read it, after the checks that a training begins with."""
        text = path.read_text()
        assert len(text.splitlines()) <= 20 and ast.parse(text)
        cfg = load_config(str(path))
        check_settings(cfg)
        check_config(cfg)
        model = build_to_count(cfg)
        check_losses(model)
        for part in ('train', 'val', 'test'):
            dataset = DATASETS.build(cfg[f'{part}_dataloader'].dataset)
            check_dataset(dataset, num_classes=model.num_classes, training=part == 'train')
        return cfg

    return check
