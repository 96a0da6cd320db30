import numpy as np
import pytest
from mmseg.models import SegDataPreProcessor

from mmsam_peft.datasets.transforms import (
    LoadImageOrArray,
    MultiTaskFlip,
    MultiTaskResize,
    MultiTaskZoomCrop,
    PackMultiTaskInputs,
)
from mmsam_peft.datasets.transforms.multi_task import resized
from mmsam_peft.registry import TASKS, TRANSFORMS
from mmsam_peft.tasks import build_tasks

KINDS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=5),
    dict(type='Depth', name='depth'),
    dict(type='InverseDepth', name='inverse'),
    dict(type='SurfaceNormals', name='normals'),
    dict(type='Saliency', name='sal'),
]
BY_NAME = {kind['name']: TASKS.build(kind) for kind in KINDS}


def sample(height: int = 24, width: int = 36, seed: int = 0) -> dict:
    """Random labels of all kinds, of which some pixels are not valid."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(height, width, 3)).astype(np.float32)
    labels = dict(
        seg=rng.integers(0, 5, (height, width, 1)),
        depth=rng.uniform(1, 9, (height, width, 1)).astype(np.float32),
        inverse=rng.uniform(1, 9, (height, width, 1)).astype(np.float32),
        normals=normals / np.linalg.norm(normals, axis=-1, keepdims=True),
        sal=rng.integers(0, 2, (height, width, 1)).astype(np.float32),
    )
    unknown = rng.random((height, width)) < 0.3
    for name, value in dict(seg=255, depth=0, inverse=0, normals=0).items():
        labels[name][unknown] = value
    tasks = build_tasks(KINDS)
    valid = {task.name: task.valid(labels[task.name]) for task in tasks}
    return dict(
        img=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        img_path='a.png',
        img_shape=(height, width),
        ori_shape=(height, width),
        tasks=tasks,
        labels=labels,
        valid=valid,
    )


def copied(results: dict) -> dict:
    return results | {
        key: {name: value.copy() for name, value in results[key].items()}
        for key in ('labels', 'valid')
    }


def by_loop(
    name: str, label: np.ndarray, valid: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The definition of ``resized``, pixel after pixel, in double precision."""
    h, w = valid.shape
    out, seen = np.zeros((*size, label.shape[2])), np.zeros(size, bool)
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = (i + 0.5) * h / size[0], (j + 0.5) * w / size[1]  # from corner to corner
            if BY_NAME[name].interpolation == 'nearest':
                out[i, j], seen[i, j] = label[int(y), int(x)], valid[int(y), int(x)]
                continue
            weights, total = 0, 0
            for v in (np.floor(y - 0.5), np.floor(y - 0.5) + 1):
                for u in (np.floor(x - 0.5), np.floor(x - 0.5) + 1):
                    at = int(np.clip(v, 0, h - 1)), int(np.clip(u, 0, w - 1))
                    weight = (1 - abs(y - 0.5 - v)) * (1 - abs(x - 0.5 - u)) * valid[at]
                    weights, total = weights + weight, total + weight * label[at].astype(float)
            if weights > 1e-6:
                mean = total / weights
                out[i, j], seen[i, j] = (
                    mean / np.linalg.norm(mean) if name == 'normals' else mean,
                    True,
                )
    return out, seen


@pytest.mark.parametrize('name', list(BY_NAME))
@pytest.mark.parametrize('size', [(31, 50), (48, 72), (10, 17), (24, 36)])
def test_resizing_against_its_definition(name, size):
    results = sample()
    label, valid = resized(BY_NAME[name], results['labels'][name], results['valid'][name], size)
    expected, seen = by_loop(name, results['labels'][name], results['valid'][name], size)
    np.testing.assert_array_equal(valid, seen)
    assert label.dtype == results['labels'][name].dtype
    np.testing.assert_allclose(label[seen], expected[seen], atol=2e-5)
    if BY_NAME[name].interpolation == 'bilinear':
        assert (label[~seen] == 0).all()
    if name == 'normals':
        np.testing.assert_allclose(np.linalg.norm(label[seen], axis=-1), 1, atol=1e-6)


def test_invalid_pixels_have_no_influence():
    results = sample()
    for name in ('depth', 'normals'):
        label, valid = results['labels'][name], results['valid'][name]
        wild = np.where(valid[..., None], label, 1e4).astype(np.float32)
        for one, other in zip(
            resized(BY_NAME[name], label, valid, (40, 60)),
            resized(BY_NAME[name], wild, valid, (40, 60)),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def test_opposite_normals_have_no_mean():
    label = np.array([[[1, 0, 0], [-1, 0, 0]]], np.float32)
    out, valid = resized(BY_NAME['normals'], label, np.ones((1, 2), bool), (1, 1))
    assert not valid.any() and (out == 0).all()


def test_flip():
    before = sample()
    after = MultiTaskFlip(prob=1)(copied(before))
    assert after['flip'] is True and after['flip_direction'] == 'horizontal'
    sign = dict.fromkeys(BY_NAME, 1) | dict(normals=np.array([-1, 1, 1]))
    for y in range(24):
        for x in range(36):
            np.testing.assert_array_equal(after['img'][y, x], before['img'][y, 35 - x])
            for name in BY_NAME:
                np.testing.assert_array_equal(
                    after['labels'][name][y, x], before['labels'][name][y, 35 - x] * sign[name]
                )
                assert after['valid'][name][y, x] == before['valid'][name][y, 35 - x]
    twice = MultiTaskFlip(prob=1)(copied(after))
    np.testing.assert_array_equal(twice['img'], before['img'])
    for name in BY_NAME:
        np.testing.assert_array_equal(twice['labels'][name], before['labels'][name])


def test_a_mirrored_sphere_is_a_sphere():
    """Off the centre; its mirror image has the same normals as a sphere drawn at the mirrored
    place."""

    def sphere(centre: float) -> np.ndarray:
        y, x = np.mgrid[:24, :36] + 0.5
        x, y = (x - centre) / 8, (y - 12) / 8
        inside = x**2 + y**2 < 1
        return np.where(
            inside[..., None], np.stack([x, -y, np.sqrt(np.maximum(1 - x**2 - y**2, 0))], -1), 0
        ).astype(np.float32)

    results = sample()
    results['labels'] = dict(normals=sphere(10))
    results['valid'] = dict(normals=results['labels']['normals'].any(-1))
    np.testing.assert_allclose(
        MultiTaskFlip(prob=1)(results)['labels']['normals'], sphere(26), atol=1e-6
    )


def test_flip_as_often_as_told():
    np.random.seed(0)
    flips = [MultiTaskFlip(prob=0.25)(sample(4, 4))['flip'] for _ in range(400)]
    assert 60 < sum(flips) < 140
    still = MultiTaskFlip(prob=0)(sample())
    assert still['flip'] is False and still['flip_direction'] is None
    np.testing.assert_array_equal(still['img'], sample()['img'])


def test_zoom_is_a_crop_enlarged():
    """Against the loop, for the one crop that fits the image."""
    before = sample()
    for seed in range(6):
        np.random.seed(seed)
        after = MultiTaskZoomCrop(scales=[1.5])(copied(before))
        assert after['img'].shape == (24, 36, 3) and after['img_shape'] == (24, 36)
        fits = []
        for top in range(24 - 16 + 1):
            for left in range(36 - 24 + 1):
                part = np.s_[top : top + 16, left : left + 24]
                expected, seen = by_loop(
                    'seg', before['labels']['seg'][part], before['valid']['seg'][part], (24, 36)
                )
                if (after['labels']['seg'] == expected).all():
                    fits.append(part)
        assert len(fits) == 1
        factor = dict(depth=1 / 1.5, inverse=1.5)
        for name in BY_NAME:
            expected, seen = by_loop(
                name, before['labels'][name][fits[0]], before['valid'][name][fits[0]], (24, 36)
            )
            np.testing.assert_array_equal(after['valid'][name], seen)
            np.testing.assert_allclose(
                after['labels'][name][seen], expected[seen] * factor.get(name, 1), atol=2e-5
            )


def test_zoom_of_a_plane():
    """1 / z = a u + b v + c. Magnified twice, and taken for nearer instead, 1 / z is doubled at
    every point, and its slopes, over twice as many pixels, are as before."""

    def inverse(v: np.ndarray, u: np.ndarray) -> np.ndarray:
        return 0.2 * (u - 16) / 20 + 0.1 * (v - 16) / 20 + 0.5

    results = sample(32, 32)
    results['labels'] = dict(
        depth=(1 / inverse(*(np.mgrid[:32, :32] + 0.5)))[..., None].astype(np.float32)
    )
    results['valid'] = dict(depth=np.ones((32, 32), bool))
    np.random.seed(3)
    after = 1 / MultiTaskZoomCrop(scales=[2])(results)['labels']['depth'][2:-2, 2:-2, 0]
    slopes = np.gradient(after)
    np.testing.assert_allclose(slopes[0], 0.1 / 20, rtol=0.05)
    np.testing.assert_allclose(slopes[1], 0.2 / 20, rtol=0.05)
    y, x = (np.mgrid[:32, :32][:, 2:-2, 2:-2] + 0.5) / 2
    assert any(
        np.allclose(after, 2 * inverse(y + top, x + left), rtol=1e-3)
        for top in range(17)
        for left in range(17)
    )


def test_zoom_draws_scales_and_places():
    np.random.seed(0)
    seen = {MultiTaskZoomCrop(scales=(1, 1.2, 1.5))(sample())['img'].tobytes() for _ in range(100)}
    assert sample()['img'].tobytes() in seen and len(seen) > 40
    assert MultiTaskZoomCrop().scales == (1, 1.2, 1.5)


@pytest.mark.parametrize('scales', [(), (0.5, 1)])
def test_zoom_only_enlarges(scales):
    with pytest.raises(ValueError, match='expected numbers from 1 on'):
        MultiTaskZoomCrop(scales=scales)


@pytest.mark.parametrize(
    'height, width, size, expected',
    [
        (288, 384, 1024, (768, 1024)),
        (384, 288, 1024, (1024, 768)),
        (128, 256, 64, (32, 64)),
        (3, 1000, 100, (1, 100)),
    ],
)
def test_resize_of_the_image_alone(height, width, size, expected):
    before = sample(height, width)
    after = MultiTaskResize(size=size)(copied(before))
    assert (
        after['img'].shape == (*expected, 3)
        and after['img_shape'] == expected
        and after['ori_shape'] == (height, width)
    )
    np.testing.assert_allclose(after['scale_factor'], (expected[1] / width, expected[0] / height))
    for name in BY_NAME:
        np.testing.assert_array_equal(after['labels'][name], before['labels'][name])


def test_resize_is_bilinear_and_takes_labels_along():
    before = sample()
    after = MultiTaskResize(size=54, labels=True)(copied(before))
    assert after['img_shape'] == (36, 54)
    expected, _ = by_loop('depth', before['img'], np.ones((24, 36), bool), (36, 54))
    assert np.abs(after['img'] - expected).max() < 1.01  # rounded along each axis
    for name in BY_NAME:
        expected, seen = by_loop(name, before['labels'][name], before['valid'][name], (36, 54))
        np.testing.assert_array_equal(after['valid'][name], seen)
        np.testing.assert_allclose(after['labels'][name][seen], expected[seen], atol=2e-5)


def test_pack():
    results = sample()
    del results['labels']['inverse']
    packed = PackMultiTaskInputs()(results | dict(flip=True, flip_direction='horizontal'))
    np.testing.assert_array_equal(packed['inputs'], results['img'].transpose(2, 0, 1))
    fields = packed['data_samples']
    assert sorted(fields.keys()) == ['gt_depth', 'gt_normals', 'gt_sal', 'gt_seg']
    for name, label in results['labels'].items():
        field = fields.get(f'gt_{name}')
        np.testing.assert_array_equal(field.data.numpy(), label.transpose(2, 0, 1))
        np.testing.assert_array_equal(field.valid.numpy()[0], results['valid'][name])
    assert (
        str(fields.gt_seg.data.dtype) == 'torch.int64'
        and str(fields.gt_depth.data.dtype) == 'torch.float32'
    )
    assert (fields.img_path, fields.ori_shape, fields.flip) == ('a.png', (24, 36), True)


def test_padding_leaves_labels_alone(scope):
    """MMSegmentation's preprocessor pads images only."""
    batch = [PackMultiTaskInputs()(MultiTaskResize(size=size)(sample())) for size in (48, 30)]
    processor = SegDataPreProcessor(
        mean=[0] * 3, std=[1] * 3, bgr_to_rgb=True, size=(64, 64), pad_val=0, seg_pad_val=255
    )
    out = processor(
        dict(
            inputs=[one['inputs'] for one in batch],
            data_samples=[one['data_samples'] for one in batch],
        ),
        True,
    )
    assert out['inputs'].shape == (2, 3, 64, 64)
    for fields, shape in zip(out['data_samples'], ((32, 48), (20, 30)), strict=True):
        assert tuple(fields.img_shape) == shape
        for name, label in sample()['labels'].items():
            np.testing.assert_array_equal(
                fields.get(f'gt_{name}').data.numpy(), label.transpose(2, 0, 1)
            )


def test_a_picture_to_predict_passes(scope, tmp_path):
    np.save(tmp_path / 'a.npy', np.full((6, 8, 3), 0.5))
    results = dict(img_path=str(tmp_path / 'a.npy'))
    for step in (
        'LoadImageOrArray',
        'LoadMultiTaskLabels',
        'MultiTaskZoomCrop',
        'MultiTaskFlip',
        dict(type='MultiTaskResize', size=16),
        'PackMultiTaskInputs',
    ):
        results = TRANSFORMS.build(step if isinstance(step, dict) else dict(type=step))(results)
    assert results['inputs'].shape == (3, 12, 16) and list(results['data_samples'].keys()) == []


def test_arrays_as_images(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    np.save(tmp_path / 'bytes.npy', rgb)
    np.save(tmp_path / 'share.npy', rgb / 255)
    for name in ('bytes', 'share'):
        results = LoadImageOrArray()(dict(img_path=str(tmp_path / f'{name}.npy')))
        np.testing.assert_allclose(results['img'][..., ::-1], rgb, atol=1e-4)
        assert (
            results['img_shape'] == results['ori_shape'] == (6, 8)
            and results['img'].dtype != np.float64
        )


@pytest.mark.parametrize(
    'image, message',
    [
        (np.zeros((3, 6, 8)), 'got an array of 3 x 6 x 8, expected height x width x 3'),
        (np.full((6, 8, 3), 200.0), 'got values from 200.0 to 200.0, expected 0 to 1'),
        (np.full((6, 8, 3), np.nan), 'got values from nan'),
    ],
)
def test_arrays_that_are_no_images(tmp_path, image, message):
    np.save(tmp_path / 'a.npy', image)
    with pytest.raises(ValueError, match=rf'image .*a.npy: {message}'):
        LoadImageOrArray()(dict(img_path=str(tmp_path / 'a.npy')))
