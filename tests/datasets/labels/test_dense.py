import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mmsam_peft.datasets.labels import channels_last, decode, encode_normals, read_array
from mmsam_peft.registry import TASKS
from mmsam_peft.tasks import Task

RNG = np.random.default_rng(0)


def task(kind: str, **settings) -> Task:
    return TASKS.build(dict(type=kind, name='task', **settings))


SEG, DEPTH, NORMALS = (
    task('SemanticSegmentation', num_classes=5),
    task('Depth'),
    task('SurfaceNormals'),
)


@pytest.mark.parametrize(
    'stored',
    [
        np.array([[0, 4], [255, 2]], np.uint8),
        np.array([[0, 4], [-1, 2]], float),
        np.array([[[0], [4]], [[-1], [2]]], np.int32),
        np.array([[[0, 4], [255, 2]]], np.uint8),
    ],
)
def test_class_numbers(stored):
    label = decode(SEG, stored)
    assert label.dtype == np.int64
    np.testing.assert_array_equal(label[..., 0], [[0, 4], [255, 2]])
    np.testing.assert_array_equal(decode(task('HumanParts'), stored), label)


@pytest.mark.parametrize('stored', [np.array([[0.5]]), np.array([[np.nan]])])
def test_class_numbers_are_whole(stored):
    with pytest.raises(ValueError, match='got fractions or NaN, expected class numbers'):
        decode(SEG, stored)


@pytest.mark.parametrize('kind', ['Depth', 'InverseDepth'])
def test_depth(kind):
    steps = np.array([[0, 1500], [65535, 7]], np.uint16)
    for unit, label in (
        (0.001, decode(task(kind), steps)),
        (0.25, decode(task(kind), steps, 0.25)),
    ):
        assert label.dtype == np.float32 and label.shape == (2, 2, 1)
        np.testing.assert_allclose(label[..., 0], steps * unit, rtol=1e-6)
    metres = np.array([[0, 1.5], [np.nan, 7]], np.float32)
    np.testing.assert_array_equal(decode(task(kind), metres, 0.25)[..., 0], metres)


def test_normals_of_vectors_are_normalised_and_zero_stays_zero():
    vectors = RNG.normal(size=(4, 5, 3)) * 3
    vectors[0, 0], vectors[1, 1] = 0, np.nan
    label = decode(NORMALS, vectors)
    assert label.dtype == np.float32
    for y in range(4):
        for x in range(5):
            expected = (
                np.zeros(3)
                if (y, x) in ((0, 0), (1, 1))
                else vectors[y, x] / np.sqrt((vectors[y, x] ** 2).sum())
            )
            np.testing.assert_allclose(label[y, x], expected, atol=1e-6)
    np.testing.assert_array_equal(decode(NORMALS, vectors.transpose(2, 0, 1)), label)


def test_normals_of_images_come_back_as_they_were():
    normals = decode(NORMALS, RNG.normal(size=(40, 50, 3)))
    normals[3, 4] = 0
    stored = encode_normals(normals)
    assert stored.dtype == np.uint8
    stored[5, 6] = 0
    label = decode(NORMALS, stored)
    assert (label[3, 4] == 0).all() and (label[5, 6] == 0).all(), 'grey and black are none'
    normals[5, 6] = 0
    assert np.abs(label - normals).max() < 0.012
    lengths = np.linalg.norm(label, axis=-1)
    assert np.allclose(lengths[normals.any(-1)], 1, atol=1e-6)
    np.testing.assert_array_equal(
        decode(NORMALS, np.array([[[255, 128, 128], [128, 0, 127]]], np.uint8)).round(1),
        [[[1, 0, 0], [0, -1, 0]]],
    )


@pytest.mark.parametrize('kind', ['Saliency', 'Edges'])
@pytest.mark.parametrize(
    'stored',
    [
        np.array([[0, 255]], np.uint8),
        np.array([[127, 128]], np.uint8),
        np.array([[0, 1]], np.uint8),
        np.array([[False, True]]),
        np.array([[0.4, 0.6]]),
    ],
)
def test_masks(kind, stored):
    label = decode(task(kind), stored)
    assert label.dtype == np.float32
    np.testing.assert_array_equal(label[..., 0], [[0, 1]])
    assert (decode(task(kind), np.zeros((2, 2), np.uint8)) == 0).all()


@pytest.mark.parametrize('stored', [np.array([[-1.0, 0]]), np.array([[300]]), np.array([[np.nan]])])
def test_masks_of_other_values(stored):
    with pytest.raises(ValueError, match='expected 0 and 1, or grey values up to 255'):
        decode(task('Saliency'), stored)


def test_kinds_of_ones_own():
    class Flow(Task):
        label_channels = 2

    flow = Flow('flow')
    stored = RNG.normal(size=(2, 4, 5))
    np.testing.assert_array_equal(
        decode(flow, stored), stored.transpose(1, 2, 0).astype(np.float32)
    )
    decode.register(Flow, lambda task, stored, depth_unit=1: channels_last(stored, 2) * 2)
    np.testing.assert_array_equal(decode(flow, stored), 2 * stored.transpose(1, 2, 0))


@pytest.mark.parametrize(
    'shape, channels, shown',
    [((4, 5, 3), 1, '4 x 5 x 3'), ((4, 5), 3, '4 x 5'), ((1, 4, 5, 1), 1, '1 x 4 x 5 x 1')],
)
def test_other_shapes(shape, channels, shown):
    with pytest.raises(
        ValueError, match=f'got an array of {shown}.*, expected height x width x {channels}'
    ):
        channels_last(np.zeros(shape), channels)


def test_files(tmp_path):
    depth = RNG.integers(0, 65536, (4, 5)).astype(np.uint16)
    Image.fromarray(depth).save(tmp_path / 'a.png')
    palette = Image.fromarray(depth.astype(np.uint8) % 4).convert('P')
    palette.putpalette([9, 9, 9, 8, 8, 8, 7, 7, 7, 6, 6, 6])
    palette.save(tmp_path / 'b.png')
    np.save(tmp_path / 'c.npy', depth * 0.5)
    savemat(tmp_path / 'd.mat', dict(depth=depth * 0.25))
    savemat(tmp_path / 'e.mat', dict(depth=depth, other=1))
    np.testing.assert_array_equal(read_array(tmp_path / 'a.png'), depth)
    np.testing.assert_array_equal(read_array(tmp_path / 'b.png'), np.asarray(palette))
    np.testing.assert_array_equal(read_array(str(tmp_path / 'c.npy')), depth * 0.5)
    np.testing.assert_array_equal(read_array(tmp_path / 'd.mat'), depth * 0.25)
    with pytest.raises(ValueError, match='got the variables depth, other, expected one array'):
        read_array(tmp_path / 'e.mat')
