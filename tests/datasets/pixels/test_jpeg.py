"""JPEGs by OpenCV are what Pillow reads, or are left to Pillow."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mmsam_peft.datasets.image_files import read_image
from mmsam_peft.datasets.pixels import jpeg

SMOOTH = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8), (203, 149)
)


def encoded(mode: str = 'RGB', turn: int = 1, **options) -> bytes:
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    Image.fromarray(SMOOTH).convert(mode).save(content, 'jpeg', exif=exif, **options)
    return content.getvalue()


def by_pillow(content: bytes) -> np.ndarray:
    """BGR, as stored."""
    return np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))[..., ::-1]


def used(monkeypatch) -> list[bool]:
    """For each image, whether OpenCV has decoded it."""
    found, decode = [], jpeg.decode

    def noted(image, content):
        values = decode(image, content)
        found.append(values is not None)
        return values

    monkeypatch.setattr(jpeg, 'decode', noted)
    return found


@pytest.mark.parametrize('mode, opencv', [('RGB', True), ('L', True), ('CMYK', False)])
@pytest.mark.parametrize(
    'options', [{}, dict(subsampling=0), dict(subsampling=2, progressive=True, quality=60)]
)
def test_values_are_pillows(monkeypatch, mode, opencv, options):
    """Another build of the decoder may round otherwise; colours in another order would not pass."""
    found, content = used(monkeypatch), encoded(mode, **options)
    image = read_image(content)
    assert found == [opencv] and image.flags.c_contiguous
    assert np.abs(image.astype(int) - by_pillow(content)).max() <= 2


@pytest.mark.parametrize('turn', range(1, 9))
def test_upright(turn):
    content = encoded(turn=turn, quality=95)
    image = read_image(content)
    upright = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
        8: lambda x: np.rot90(x),
    }[turn](by_pillow(content))
    assert image.shape == upright.shape and np.abs(image.astype(int) - upright).max() <= 2


@pytest.mark.parametrize('cut', [0.3, 0.9, 0.9999])
def test_a_cut_file_is_refused_by_pillow(monkeypatch, cut):
    found, content = used(monkeypatch), encoded(quality=95)
    with pytest.raises(OSError, match='truncated'):
        read_image(content[: int(cut * len(content))])
    assert found == [False]


def test_bytes_behind_the_end_are_passed_over(monkeypatch):
    found, content = used(monkeypatch), encoded()
    for behind in (bytes(9), b'a camera wrote this' * 99):
        np.testing.assert_array_equal(read_image(content + behind), read_image(content))
    assert found == [True] * 4


def test_a_file_whose_code_is_damaged_is_refused_by_pillow(monkeypatch):
    """OpenCV makes the rest of the picture grey, and says nothing to the program."""
    found, content = used(monkeypatch), bytearray(encoded(quality=95))
    place = content.index(b'\xff\x00', len(content) // 2)
    content[place + 1] = 0x30
    with pytest.raises(OSError, match='broken'):
        read_image(bytes(content))
    assert found == [False]
