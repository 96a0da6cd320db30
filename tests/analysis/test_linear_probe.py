"""Linear probing: what is classified, how its strength is chosen, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmsam_peft.analysis.encoders import Encoder
from mmsam_peft.analysis.linear_probe import class_folders, linear_probe, pooled_features
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.models.backbones.mae_vit import MAEViT

ARCH = dict(
    embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=2, out_channels=8
)


@pytest.fixture
def data(tmp_path) -> Path:
    """Red and blue squares with noise; one of the blue ones in val/ is labelled red."""
    rng = np.random.default_rng(0)
    for split, number in (('train', 10), ('val', 5)):
        for label, colour in (('blue', (40, 40, 200)), ('red', (200, 40, 40))):
            for i in range(number):
                wrong = split == 'val' and label == 'red' and i == 0
                pixels = np.array((40, 40, 200) if wrong else colour) + rng.integers(
                    -20, 20, (32, 32, 3)
                )
                path = tmp_path / split / label / f'{i}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path


@pytest.fixture
def sam():
    torch.manual_seed(0)
    return Encoder('SAM', SAMViT(ARCH, img_size=32).eval(), (32, 32))


def test_accuracy(data, sam):
    """Ten images, of which one cannot be right."""
    found = linear_probe(sam, data)
    assert (found.accuracy, found.images, found.width) == (90.0, 10, 16)


@torch.no_grad()
def test_features(data, sam):
    """The mean of the last map, and MAE's class token, of images prepared as the encoder wants."""
    paths = class_folders(data)['train'][0][:3]
    pixels = np.stack([np.asarray(Image.open(path), np.float32) for path in paths])
    mean, std = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
    images = torch.from_numpy((pixels - mean) / std).permute(0, 3, 1, 2)
    *_, last = sam.module.walk(sam.module, images)
    np.testing.assert_allclose(pooled_features(sam, paths), last.mean((1, 2)), rtol=1e-4, atol=1e-5)
    torch.manual_seed(0)
    mae = Encoder('MAE', MAEViT(16, 2, 2, 16, (32, 32)).eval(), (32, 32))
    np.testing.assert_allclose(
        pooled_features(mae, paths, 'token'), mae.module(images)[1], rtol=1e-4, atol=1e-5
    )


def test_no_class_token(data, sam):
    with pytest.raises(ValueError, match='SAM has no class token'):
        linear_probe(sam, data, 'token')


def test_folders(data):
    (train, y), (val, _) = class_folders(data)['train'], class_folders(data)['val']
    assert (len(train), len(val), y.tolist()) == (20, 10, [0] * 10 + [1] * 10)
    assert {path.parent.name for path in train[:10]} == {'blue'}
    (data / 'val/red').rename(data / 'val/green')
    with pytest.raises(ValueError, match="only one of them has .*'green', 'red'"):
        class_folders(data)
    (data / 'val/green').rename(data / 'elsewhere')
    (data / 'val/red').mkdir()
    with pytest.raises(FileNotFoundError, match='No image in .*red'):
        class_folders(data)
    with pytest.raises(FileNotFoundError, match='no folder'):
        class_folders(data / 'train')
