"""Arrays in the place of files."""

import numpy as np
import pytest

from mmsam_peft.datasets.transforms.arrays import LoadImageFromNDArray, as_bgr

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
GREY = PIXELS[..., 0]


@pytest.mark.parametrize(
    'given, expected',
    [
        (PIXELS, PIXELS),
        (np.dstack([PIXELS, GREY | 255]), PIXELS),
        (GREY, np.dstack([GREY] * 3)),
        (GREY[..., None], np.dstack([GREY] * 3)),
        (PIXELS.astype(np.int64), PIXELS),
        (PIXELS.astype(np.uint16), PIXELS),
        (PIXELS[:, ::-1], PIXELS[:, ::-1]),
        (np.zeros((2, 2), np.uint16), np.zeros((2, 2, 3), np.uint8)),
    ],
    ids=['BGR', 'BGRA', 'grey', 'one channel', 'int64', 'small uint16', 'a view', 'black'],
)
def test_what_is_right(given, expected):
    found = as_bgr(given)
    assert found.dtype == np.uint8 and found.flags.c_contiguous and (found == expected).all()
    assert found.flags.writeable and not np.shares_memory(found, given)  # as PyTorch wants it


def test_fractions_of_steps_stay():
    found = as_bgr(PIXELS / 1.1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, PIXELS / 1.1, rtol=1e-6)


@pytest.mark.parametrize(
    'given, message',
    [
        (
            PIXELS / 255,
            'float64 from 0.* to 0.*, expected values from 0 to 255: multiply it by 255',
        ),
        (PIXELS.astype(np.uint16) * 257, 'uint16 from .* to 6.*: scale it to the range of a byte'),
        (PIXELS.astype(np.int16) - 128, 'int16 from -1.*: scale it'),
        (PIXELS > 100, 'array of bool that holds other things'),
        (np.full((2, 2, 3), np.nan), 'other things than finite numbers'),
        (
            PIXELS.transpose(2, 0, 1),
            'got an array of 3 x 4 x 5, expected an image of height x width x 3',
        ),
        (np.dstack([PIXELS, GREY]), 'got transparent pixels'),
        (np.dstack([PIXELS, GREY | 255]) / 255, 'multiply it by 255'),
        (PIXELS[None], 'got an array of 1 x 4 x 5 x 3'),
        (PIXELS[:0], '0 x 5 x 3'),
        (PIXELS[..., :2], '4 x 5 x 2'),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        as_bgr(given)


def test_keys():
    found = LoadImageFromNDArray(to_float32=True)(dict(img=GREY))
    assert (
        found['img'].dtype == np.float32
        and found['img_shape'] == found['ori_shape'] == (4, 5)
        and found['img_path'] is None
    )
