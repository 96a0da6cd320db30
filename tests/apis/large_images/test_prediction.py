"""Large images predicted from the disk are what the whole image predicted at once is."""

import json

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from mmsam_peft.apis import inference_model, init_model
from mmsam_peft.apis.large_images import Settings, predict_large
from mmsam_peft.apis.large_images import prediction as module
from mmsam_peft.registry import DATASETS  # noqa: F401

UTM, NORTH_UP = 'EPSG:32633', Affine(0.5, 0, 500000, 0, -0.5, 5400000)
WINDOWS = {
    'model.test_cfg': dict(mode='slide', crop_size=(64, 64), stride=(43, 43), _delete_=True),
    'test_pipeline': [
        dict(type='LoadImageFromFile'),
        dict(type='LoadMask'),
        dict(type='PackSegInputs'),
    ],
}
CLASSES = {
    'model.decode_head.num_classes': 3,
    'model.decode_head.num_queries': 4,
    'model.decode_head.loss_decode': dict(type='SetPredictionLoss'),
}


@pytest.fixture
def model(build, tiny):
    """``model(options)``: a tiny one with random values that slides windows."""

    def model(options=None):
        options = {**WINDOWS, **(options or {})}
        made = build(options, trained=True)
        made.cfg = tiny(options)
        made.dataset_meta = dict(classes=('background', 'disc', 'ring'), palette=[[0, 0, 0], [0, 255, 0], [9, 8, 7]])
        return made

    return model


def pixels(height: int, width: int, bands: int = 3, dtype: str = 'uint8') -> np.ndarray:
    """(bands, height, width) of coarse squares."""
    top = np.iinfo(dtype).max
    tile = np.random.default_rng(0).integers(0, top, (bands, height // 9 + 1, width // 9 + 1))
    return np.kron(tile, np.ones((1, 9, 9)))[:, :height, :width].astype(dtype)


def geotiff(path, values, **profile):
    bands, height, width = values.shape
    given = dict(crs=UTM, transform=NORTH_UP, tiled=True, blockxsize=32, blockysize=32)
    given.update(driver='GTiff', dtype=values.dtype, count=bands, height=height, width=width)
    with rasterio.open(path, 'w', **{**given, **profile}) as file:
        file.write(values)
    return path


def read(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize('size', [(97, 150), (64, 64), (40, 131), (172, 65)])
@pytest.mark.parametrize('options', [{}, CLASSES], ids=['binary', 'classes'])
def test_equals_the_whole_image(model, tmp_path, size, options):
    made = model(options)
    path = geotiff(tmp_path / 'image.tif', pixels(*size))
    expected = inference_model(made, str(path)).pred_sem_seg.data[0].numpy()
    assert len(np.unique(expected)) > 1
    for batch in (1, 3):
        mask = read(predict_large(made, path, tmp_path / f'out{batch}', batch_size=batch))
        assert (mask == expected).mean() >= 0.9999
