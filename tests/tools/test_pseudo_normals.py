import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsam_peft.datasets.scenes import draw_shapes

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/pseudo_normals.py'
FOCAL = 100.0


@pytest.fixture(scope='module')
def normals_from_depth():
    return runpy.run_path(str(TOOL))['normals_from_depth']


@pytest.fixture
def run(monkeypatch):
    def call(*arguments) -> None:
        monkeypatch.setattr(sys, 'argv', ['pseudo_normals.py', *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return call


def plane(normal: tuple, at: float, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Depth of the plane with this normal (x right, y up, z towards the camera) that the optical
    axis meets at ``at``."""
    depth = np.zeros(shape)
    for y in range(shape[0]):
        for x in range(shape[1]):
            ray = np.array(
                [(x + 0.5 - shape[1] / 2) / FOCAL, -(y + 0.5 - shape[0] / 2) / FOCAL, -1]
            )
            depth[y, x] = np.dot(normal, (0, 0, -at)) / np.dot(normal, ray)
    return depth


def unit(*vector: float) -> np.ndarray:
    return np.array(vector) / np.linalg.norm(vector)


def angles(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((found * expected).sum(-1), -1, 1)))


@pytest.mark.parametrize(
    'normal', [(0, 0, 1), (1, 0, 1), (-1, 0, 2), (0, 1, 1), (0, 1, 0.6), (0.3, -0.5, 1)]
)
def test_planes(normals_from_depth, normal):
    found = normals_from_depth(plane(normal, 2.5), FOCAL)
    assert found.dtype == np.float32 and angles(found, unit(*normal)).max() < 0.1


def test_unknown_depth(normals_from_depth):
    depth = plane((0.3, 0.2, 1), 2)
    depth[20:24, 10:30], depth[40, 40], depth[41, 41] = 0, np.nan, np.inf
    found = normals_from_depth(depth, FOCAL)
    unknown = ~(np.isfinite(depth) & (depth > 0))
    assert unknown.sum() == 82 and (found[unknown] == 0).all()
    assert angles(found, unit(0.3, 0.2, 1))[~unknown].max() < 0.1


def test_too_little_to_fit(normals_from_depth):
    depth = np.zeros((40, 60))
    depth[10], depth[30, 30] = 2, 1
    assert (normals_from_depth(depth, FOCAL, radius=20) == 0).all(), 'a row of pixels has no plane'


def test_planes_do_not_mix_over_a_step(normals_from_depth):
    near, far = plane((0.5, 0, 1), 1.5), plane((-0.5, 0, 1), 4)
    left = np.arange(80) < 40
    found = normals_from_depth(np.where(left, near, far), FOCAL)
    assert angles(found, unit(0.5, 0, 1))[:, left].max() < 0.1
    assert angles(found, unit(-0.5, 0, 1))[:, ~left].max() < 0.1


def test_coarse_steps_of_depth(normals_from_depth):
    """NYUv2 as it is often passed on has steps of 39 mm."""
    depth = plane((0.2, 0.1, 1), 2.5, (120, 160))
    found = normals_from_depth(np.rint(depth / 0.039) * 0.039, FOCAL, radius=16)
    assert np.median(angles(found, unit(0.2, 0.1, 1))) < 5


def test_scenes_with_known_normals(normals_from_depth):
    errors = []
    for i in range(4):
        _, _, depth, normals = draw_shapes(np.random.default_rng([5, i]))
        slope = 0.5 / np.random.default_rng([5, i]).uniform(0.8, 1.2)
        errors.append(
            angles(normals_from_depth(depth, 64 / slope, radius=3, tolerance=0.03), normals)
        )
    assert np.median(errors) < 0.1 and np.mean(np.array(errors) < 5) > 0.9


@pytest.mark.parametrize('npy', [False, True])
def test_files(run, tmp_path, capsys, npy):
    depth, place = plane((0.4, 0.3, 1), 2), tmp_path / 'depth_dir/train'
    place.mkdir(parents=True)
    Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(place / 'a.png')
    np.save(place / 'b.npy', depth[..., None].astype(np.float32))
    run(tmp_path, '--focal', FOCAL, '--radius', 6, *(['--npy'] if npy else []))
    for name in 'ab':
        path = tmp_path / f'normals_dir/train/{name}.{"npy" if npy else "png"}'
        found = np.load(path) if npy else np.asarray(Image.open(path)) / 127.5 - 1
        assert (
            found.shape == (60, 80, 3)
            and angles(unit(*found.mean((0, 1))), unit(0.4, 0.3, 1)) < 0.5
        )
    assert 'pseudo-normals of 2 depth images' in capsys.readouterr().out
    assert (
        'Pseudo-normals, not measured: derived from depth'
        in (tmp_path / 'normals_dir/README.txt').read_text()
    )


def test_focal_length_of_nyuv2_goes_with_the_width(run, tmp_path):
    depth, place = plane((1, 0, 1), 2, (30, 320)), tmp_path / 'depth_dir/train'
    place.mkdir(parents=True)
    np.save(place / 'a.npy', depth)
    run(tmp_path, '--npy', '--out', tmp_path / 'new')
    run(tmp_path, '--npy', '--out', tmp_path / 'same', '--focal', 259.43)
    np.testing.assert_array_equal(
        np.load(tmp_path / 'new/train/a.npy'), np.load(tmp_path / 'same/train/a.npy')
    )
    assert not (tmp_path / 'normals_dir').exists()


def test_nothing_to_convert(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path)
    assert 'expected depth images: DATA_ROOT/depth_dir/<split>/NAME.png' in capsys.readouterr().err
