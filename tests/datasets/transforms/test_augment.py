"""Random transforms: images and what belongs to them stay together."""

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from scipy.ndimage import map_coordinates

from mmsam_peft.datasets.augmentation import MULTI_TASK_PRESETS, PRESETS
from mmsam_peft.datasets.feature_cache import seeded
from mmsam_peft.datasets.transforms import RandomAffine, RandomColour
from mmsam_peft.datasets.transforms.augment import colour_matrix, inverse_matrix, warp_image
from mmsam_peft.registry import TRANSFORMS
from mmsam_peft.tasks import build_tasks

H, W = 40, 60


def sample(bands: int = 3, kind: type = np.uint8) -> dict:
    """A smooth image of four blocks of colour, and a mask that says which."""
    rows, columns = np.mgrid[:H, :W]
    mask = ((rows >= H // 2) + 2 * (columns >= W // 2)).astype(np.uint8)
    image = np.stack([20 + 10 * band + 40 * mask for band in range(bands)], axis=-1)
    return dict(img=image.astype(kind), gt_seg_map=mask, seg_fields=['gt_seg_map'])


@pytest.mark.parametrize(('bands', 'kind'), [(3, np.uint8), (7, np.float32), (1, np.uint16)])
def test_masks_follow_their_image(bands, kind):
    """Inside, where no border is near, colours say the class; what came in has the mean colour and
    is ignored."""
    np.random.seed(1)
    change = RandomAffine(scale=(0.6, 1.4), degrees=30)
    for _ in range(5):
        before = sample(bands, kind)
        after = change.transform(sample(bands, kind))
        image, mask = after['img'], after['gt_seg_map']
        assert image.shape == before['img'].shape and image.dtype == kind
        assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}
        even = np.ones((H, W), bool)  # away from edges, where colours mix
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            even &= mask == np.roll(mask, step, axis)
        even[[0, -1]] = even[:, [0, -1]] = False
        seen = even & (mask != 255)
        assert seen.sum() > 300
        expected = 20 + 40 * mask[seen].astype(int)
        assert np.abs(image[..., 0][seen].astype(float) - expected).max() <= 1
        outside = even & (mask == 255)
        mean = before['img'].astype(float).mean((0, 1))
        if outside.any():
            assert np.abs(image[outside].astype(float) - mean).max() <= 1


def test_where_a_pixel_comes_from():
    """Against SciPy: the middle stays, a positive angle turns clockwise as one sees it."""
    scale, angle = 1.3, np.deg2rad(25)
    rng = np.random.default_rng(0)
    image = np.kron(rng.uniform(0, 1, (H // 10, W // 10)), np.ones((10, 10))).astype(np.float32)
    rows, columns = np.mgrid[:H, :W] + 0.5
    x, y = columns - W / 2, rows - H / 2
    back_x = (np.cos(angle) * x + np.sin(angle) * y) / scale + W / 2 - 0.5
    back_y = (-np.sin(angle) * x + np.cos(angle) * y) / scale + H / 2 - 0.5
    expected = map_coordinates(image, [back_y, back_x], order=1, cval=image.mean())
    found = warp_image(image, inverse_matrix(scale, angle, (H, W)))
    inside = (back_x > 1) & (back_x < W - 2) & (back_y > 1) & (back_y < H - 2)
    assert np.abs(found - expected)[inside].max() < 0.05  # OpenCV knows 1 / 32 of a pixel

    mark = dict(img=np.zeros((H, W, 3), np.uint8), gt_seg_map=np.zeros((H, W), np.uint8))
    mark['gt_seg_map'][H // 2 - 1 : H // 2 + 1, W // 2 + 11 : W // 2 + 15] = 1  # to the right
    change = RandomAffine(degrees=90)
    np.random.seed(3)
    turned = change.transform(dict(mark, seg_fields=['gt_seg_map']))['gt_seg_map']
    np.random.seed(3)
    np.random.uniform()
    drawn = np.deg2rad(np.random.uniform(-90, 90))
    row, column = (found.mean() for found in np.where(turned == 1))
    at = np.arctan2(row + 0.5 - H / 2, column + 0.5 - W / 2)
    assert abs(at - drawn) < 0.1


def test_labels_of_another_size_than_the_image():
    tasks = build_tasks([dict(type='SemanticSegmentation', name='seg', num_classes=4)])
    big = sample()
    small = dict(
        img=big['img'],
        tasks=tasks,
        labels=dict(seg=big['gt_seg_map'][::2, ::2, None]),
        valid=dict(seg=np.ones((H // 2, W // 2), bool)),
    )
    np.random.seed(5)
    big = RandomAffine(degrees=40).transform(big)['gt_seg_map']
    np.random.seed(5)
    small = RandomAffine(degrees=40).transform(small)
    label, valid = small['labels']['seg'][..., 0], small['valid']['seg']
    assert not valid.all() and (label[~valid] == 0).all()
    agree = big[::2, ::2] == np.where(valid, label, 255)
    assert agree.mean() > 0.9  # all but edges


def test_what_is_not_sound_is_refused():
    normals = build_tasks([dict(type='SurfaceNormals', name='normals')])
    depth = build_tasks([dict(type='Depth', name='depth')])
    for tasks, change, words in (
        (normals, RandomAffine(degrees=5), 'cannot turn'),
        (depth, RandomAffine(scale=(1, 2)), 'MultiTaskZoomCrop'),
    ):
        label = dict(zip([tasks[0].name], [np.zeros((H, W, tasks[0].label_channels))], strict=True))
        with pytest.raises(ValueError, match=words):
            change.transform(dict(img=np.zeros((H, W, 3)), tasks=tasks, labels=label, valid={}))
    with pytest.raises(ValueError, match='expected 0 < least'):
        RandomAffine(scale=(2, 1))


def test_colours_keep_range_type_and_grey():
    """A change of the unit changes nothing else; grey stays grey where bands are not balanced
    anew."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 1, (8, 8, 5)).astype(np.float32)
    for factor, shift in ((1, 0), (1e-3, 7), (6e4, -100)):
        np.random.seed(1)
        changed = RandomColour(contrast=0.9).transform(dict(img=base * factor + shift))['img']
        changed = (changed - shift) / factor
        if factor == 1:
            expected = changed
        assert changed.dtype == np.float32 and np.allclose(changed, expected, atol=2e-2)
    assert expected.min() < 0 or expected.max() > 1  # nothing is cut off
    bright = np.full((4, 4, 3), 250, np.uint8)
    bright[0] = 5
    for seed in range(8):
        np.random.seed(seed)
        grey = RandomColour(balance=0).transform(dict(img=bright))['img']
        assert grey.dtype == np.uint8 and (np.ptp(grey.astype(int), axis=-1) == 0).all()
        assert grey[1:].min() > 100 > grey[0].max()  # no overflow
    assert np.allclose(colour_matrix(1, 2 * np.pi / 3) @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(colour_matrix(0, 1) @ [3, 0, 0], [1, 1, 1])


def test_presets_are_functions_of_the_seed():
    """As resuming and the feature cache need it; for images of one task and of several."""
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        for steps in PRESETS.values():
            made = []
            for seed in (1, 2, 1):
                results = dict(sample(), img_shape=(H, W))
                with seeded(seed):
                    for step in steps:
                        results = TRANSFORMS.build(step).transform(results)
                made.append(np.dstack([results['img'], results['gt_seg_map']]))
            assert made[0].shape == (H, W, 4) and (made[0] == made[2]).all()
            assert (made[0] != made[1]).any() == bool(steps)
        tasks = build_tasks([dict(type='Depth', name='depth')])
        for steps in MULTI_TASK_PRESETS.values():
            results = dict(
                img=sample()['img'],
                tasks=tasks,
                labels=dict(depth=np.ones((H, W, 1), np.float32)),
                valid=dict(depth=np.ones((H, W), bool)),
            )
            for step in steps:
                results = TRANSFORMS.build(step).transform(results)
            assert results['labels']['depth'].shape == (H, W, 1)
