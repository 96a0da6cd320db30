"""Nothing is lost where an image shrinks; masks and images are taken from the same places."""

import mmcv.transforms
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from mmsam_peft.datasets.transforms import Resize, ScoreAt, resize
from mmsam_peft.datasets.transforms.resize import resize_image, resize_labels
from mmsam_peft.registry import TRANSFORMS


def cubic(x: float) -> float:
    x = abs(x)
    inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return inner if x < 1 else outer if x < 2 else 0.0


def along(values: np.ndarray, size: int) -> np.ndarray:
    """Keys' cubic of a = -0.5, as wide as the pixels are apart that it makes."""
    old, scale = len(values), len(values) / size
    wide = max(1.0, scale)
    made = []
    for i in range(size):
        centre = (i + 0.5) * scale
        weights = np.array([cubic((j + 0.5 - centre) / wide) for j in range(old)])
        made.append(np.tensordot(weights / weights.sum(), values, 1))
    return np.array(made)


@pytest.mark.parametrize('size', [(7, 9), (40, 11), (33, 44)])
@pytest.mark.parametrize('channels', [(), (3,), (5,)])
def test_bicubic_against_its_formula(size, channels):
    image = np.random.default_rng(0).random((24, 30, *channels)).astype(np.float32)
    expected = along(along(image, size[0]).swapaxes(0, 1), size[1]).swapaxes(0, 1)
    got = resize_image(image, size, 'bicubic')
    assert got.dtype == np.float32 and got.shape == (*size, *channels)
    np.testing.assert_allclose(got, expected, atol=2e-6)
    grey = np.rint(90 + 70 * image).astype(np.uint8)  # nothing overshoots
    small = resize_image(grey, size, 'bicubic')
    exact = np.clip(along(along(grey, size[0]).swapaxes(0, 1), size[1]).swapaxes(0, 1), 0, 255)
    assert small.dtype == np.uint8 and np.abs(small - exact).max() < 1.2  # rounded along each axis
    assert small.flags.writeable


def test_thin_lines_keep_their_weight():
    """One line in six: without antialiasing it vanishes or stands for all six."""
    image = np.zeros((96, 96, 3), np.uint8)
    image[::6] = 240
    assert np.abs(resize_image(image, (16, 16), 'bicubic')[2:-2] - 40.0).max() <= 2
    assert set(np.unique(resize_image(image, (16, 16), 'bicubic', False))) <= {0, 240}
    mmcvs = mmcv.transforms.Resize(scale=(16, 16), interpolation='bicubic')
    assert np.array_equal(
        Resize(scale=(16, 16), interpolation='bicubic', antialias=False)(dict(img=image))['img'],
        mmcvs(dict(img=image))['img'],
    )


@pytest.mark.parametrize('keep_ratio', [True, False])
def test_what_the_step_says_is_as_mmcvs(keep_ratio):
    rng = np.random.default_rng(1)
    results = dict(
        img=rng.integers(0, 256, (50, 80, 3)).astype(np.uint8),
        gt_seg_map=rng.integers(0, 3, (50, 80)).astype(np.uint8),
        gt_bboxes=np.array([[1.0, 2, 30, 40]]),
    )
    got, expected = (
        kind(scale=(40, 32), keep_ratio=keep_ratio)(dict(results))
        for kind in (Resize, mmcv.transforms.Resize)
    )
    assert got.keys() == expected.keys() and got['gt_seg_map'].dtype == np.uint8
    for key in ('img_shape', 'scale', 'scale_factor', 'keep_ratio', 'gt_bboxes'):
        assert np.array_equal(got[key], expected[key]), key
    assert got['img'].shape == expected['img'].shape
    assert got['gt_seg_map'].shape == expected['gt_seg_map'].shape


def test_masks_come_from_the_centres():
    labels = np.arange(81).reshape(9, 9)
    assert resize_labels(labels, (3, 3)).tolist() == [[10, 13, 16], [37, 40, 43], [64, 67, 70]]
    assert np.array_equal(resize_labels(labels, (18, 18)), labels.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize('antialias, expected', [(True, 0), (False, 0.5)])
def test_an_image_and_its_mask_stay_together(antialias, expected):
    """How far a square's centre in the image is from that in the mask, on average: MMCV takes a
    mask from the corners of the pixels."""
    rng = np.random.default_rng(0)
    step = Resize(scale=(64, 64), interpolation='bicubic', antialias=antialias)
    places, off = np.arange(64) + 0.5, []
    for _ in range(60):
        mask = np.zeros((310, 310), np.uint8)
        top, left, height, width = rng.integers(40, 120, 4)
        mask[top : top + height, left : left + width] = 1
        made = step(dict(img=np.repeat(255 * mask[..., None], 3, 2), gt_seg_map=mask))
        both = made['gt_seg_map'].astype(float), made['img'][..., 0].astype(float)
        one, other = (part.sum(0) @ places / part.sum() for part in both)
        off.append(one - other)
    assert np.mean(off) == pytest.approx(expected, abs=0.15)


def test_in_a_config_resizing_is_ours_also_inside_of_other_transforms():
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        made = Compose(
            [
                dict(type='Resize', scale=(16, 16)),
                dict(type='RandomResize', scale=(16, 16), ratio_range=(1, 1)),
            ]
        )
    assert isinstance(made.transforms[0], Resize) and isinstance(made.transforms[1].resize, Resize)
    assert TRANSFORMS.get('Resize') is Resize


def test_score_at_a_size():
    results = dict(ori_shape=(9, 9), gt_seg_map=np.arange(81, dtype=np.uint8).reshape(9, 9))
    made = ScoreAt(size=[3, 3])(dict(results))
    assert made['ori_shape'] == (3, 3) and made['gt_seg_map'].tolist()[0] == [10, 13, 16]
    assert ScoreAt(size=(4, 5))(dict(ori_shape=(9, 9))) == dict(ori_shape=(4, 5))


def test_pillow_is_what_is_used_for_small_images():
    image = np.random.default_rng(2).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((20, 30), Image.Resampling.BICUBIC))
    assert np.array_equal(resize_image(image, (30, 20), 'bicubic'), expected)


@pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear'])
@pytest.mark.parametrize('size', [(640, 500), (1100, 2300)])
def test_large_images_are_resized_as_pillow_does(monkeypatch, interpolation, size):
    """To its rounding: a shift by a hundredth of a pixel would be off by more."""
    noise = np.random.default_rng(3).integers(0, 256, (501, 1001, 3)).astype(np.uint8)
    image = np.kron(noise, np.ones((2, 2, 1), np.uint8))[:1001, :1999]
    quick = resize_image(image, size, interpolation)
    monkeypatch.setattr(resize, 'LARGE', image.size)
    slow = resize_image(image, size, interpolation).astype(int)
    off = np.abs(quick - slow)
    assert off.max() <= 2 and off.mean() < 0.05
    assert quick.dtype == np.uint8 and quick.flags.c_contiguous and quick.flags.writeable
