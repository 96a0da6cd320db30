"""The multi-task world. Camera axes: x right, y up, z towards the viewer; a pixel at depth d is ``d
* (u, v, -1)``."""

import json

import cv2
import numpy as np
import pytest

from mmsam_peft.datasets.labels import encode_normals
from mmsam_peft.datasets.scenes import draw_shapes, generate, generate_scenes, shapes
from mmsam_peft.datasets.scenes.shapes import CLASSES, Shape

SCENES = 30


@pytest.fixture(scope='module')
def scenes() -> list[tuple[np.ndarray, ...]]:
    return [draw_shapes(np.random.default_rng([7, i])) for i in range(SCENES)]


def half_view(rng_seed: list[int]) -> float:
    """tan(half the field of view) of a scene: the first number that it draws."""
    return 0.5 / np.random.default_rng(rng_seed).uniform(0.8, 1.2)


def cloud(depth: np.ndarray, slope: float) -> np.ndarray:
    """3-D points (H, W, 3) of the pixels, by a loop over them."""
    size, points = len(depth), np.zeros((*depth.shape, 3))
    for i in range(size):
        for j in range(size):
            u, v = (2 * j + 1 - size) / size * slope, (2 * i + 1 - size) / size * slope
            points[i, j] = depth[i, j] * np.array([u, -v, -1])
    return points


def test_arrays_are_well_formed(scenes):
    seen = np.zeros(5)
    for image, classes, depth, normals in scenes:
        assert image.shape == normals.shape == (128, 128, 3) and classes.shape == depth.shape == (
            128,
            128,
        )
        assert (
            image.dtype == classes.dtype == np.uint8 and depth.dtype == normals.dtype == np.float32
        )
        assert 0.5 < depth.min() and depth.max() < 15
        np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-6)
        assert image.std() > 5 and len(np.unique(classes)) >= 2
        seen += np.bincount(classes.ravel(), minlength=5)
    assert len(CLASSES) == 5 and (seen / seen.sum() > 0.02).all(), seen


def test_drawing_depends_on_the_generator_alone(scenes):
    np.random.seed(1)
    for first, again in zip(scenes[3], draw_shapes(np.random.default_rng([7, 3])), strict=True):
        np.testing.assert_array_equal(first, again)
    assert (scenes[3][0] != scenes[4][0]).any()


def test_normals_are_those_of_the_depth(scenes):
    """Where a pixel and its neighbours lie on one smooth surface, the cross product of depth
    differences is the normal."""
    checked = 0
    for i, (_, classes, depth, normals) in enumerate(scenes[:8]):
        points = cloud(depth, half_view([7, i]))
        across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        found = np.cross(down, across)
        found /= np.linalg.norm(found, axis=-1, keepdims=True)
        window = [
            np.s_[1 + dy : 127 + dy, 1 + dx : 127 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)
        ]
        smooth = np.all(
            [
                (classes[w] == classes[1:-1, 1:-1])
                & ((normals[w] * normals[1:-1, 1:-1]).sum(-1) > 0.97)
                for w in window
            ],
            axis=0,
        )
        flat = smooth & np.all(
            [(normals[w] == normals[1:-1, 1:-1]).all(-1) for w in window], axis=0
        )
        angle = np.degrees(np.arccos(np.clip((found * normals[1:-1, 1:-1]).sum(-1), -1, 1)))
        assert np.quantile(angle[smooth], 0.99) < 3 and angle[flat].mean() < 0.05
        checked += smooth.sum()
    assert checked > 8 * 5000


def test_visible_surfaces_face_the_camera(scenes):
    for i, (_, _, depth, normals) in enumerate(scenes[:4]):
        assert ((normals * cloud(depth, half_view([7, i]))).sum(-1) <= 1e-4).all()


def test_floor_is_flat_and_wall_stands_on_it(scenes):
    for i, (_, classes, depth, normals) in enumerate(scenes[:8]):
        points, planes = cloud(depth, half_view([7, i])), {}
        for number in (0, 1):
            at = classes == number
            if at.any():
                planes[number] = normals[at][0]
                np.testing.assert_allclose(
                    normals[at], np.broadcast_to(planes[number], (at.sum(), 3)), atol=1e-6
                )
                np.testing.assert_allclose(
                    points[at] @ planes[number], (points[at] @ planes[number])[0], atol=1e-4
                )
        assert planes[1][1] > 0.85, 'the floor looks up'
        if 0 in planes:
            assert abs(planes[0] @ planes[1]) < 1e-6


def test_spheres_are_spheres(scenes):
    """All points p of a sphere with outward normal n and radius r have one centre p - r n."""
    balls = 0
    for i, (_, classes, depth, normals) in enumerate(scenes):
        count, parts = cv2.connectedComponents(
            (classes == CLASSES.index('sphere')).astype(np.uint8)
        )
        points = cloud(depth, half_view([7, i])) if count > 1 else None
        for part in range(1, count):
            p, n = points[parts == part], normals[parts == part]
            if len(p) > 300 and np.abs(n @ n.mean(0)).min() < 0.9:
                spread = n - n.mean(0)
                radius = ((p - p.mean(0)) * spread).sum() / (spread**2).sum()
                centres = p - radius * n
                if np.abs(centres - centres.mean(0)).max() < 1e-3:
                    balls += 1
                    assert 0.2 < radius < 0.56
    assert balls >= 5


@pytest.mark.parametrize('kind', ['sphere', 'box', 'cylinder'])
def test_rays_meet_shapes_where_the_surface_is(kind):
    """Against the shapes' own equations, stepping along each ray."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] * np.array(
        [[0.9], [0.5], [0.9 if kind != 'box' else 0.3]]
    )
    shape = Shape(kind, np.array([0.1, -0.2, -3]), axes)
    rays = np.concatenate([rng.uniform(-0.4, 0.4, (300, 2)), -np.ones((300, 1))], 1)
    distance = shape.distance(np.zeros(3), rays)

    def inside(points):
        local = np.linalg.solve(axes.T, (points - shape.centre).T)
        return {
            'sphere': np.linalg.norm(local, axis=0) <= 1,
            'box': np.abs(local).max(0) <= 1,
            'cylinder': (np.hypot(local[0], local[2]) <= 1) & (np.abs(local[1]) <= 1),
        }[kind]

    steps = np.linspace(0, 6, 6001)
    for ray, t in zip(rays, distance, strict=True):
        within = np.flatnonzero(inside(steps[:, None] * ray))
        if len(within) > 1:
            assert t == pytest.approx(steps[within[0]], abs=1.01e-3)
        elif not len(within):
            assert t == np.inf or not inside((t + 2e-3) * ray[None]).any()
    hit = np.isfinite(distance)
    assert 30 < hit.sum() < 290
    points = distance[hit, None] * rays[hit]
    normals = shape.normal(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    assert not inside(points + 1e-4 * normals).any() and inside(points - 1e-4 * normals).all()
    tangent = np.cross(normals, rng.normal(size=normals.shape))
    level = [np.mean(inside(points + 1e-3 * sign * tangent - 2e-5 * normals)) for sign in (1, -1)]
    assert min(level) > (0.9 if kind != 'box' else 0.97), 'moving along the surface stays at it'


def test_shapes_stand_on_the_floor_and_apart():
    for i in range(20):
        group = shapes._arrange(np.random.default_rng(i), wall=5, slope=0.5)
        assert 1 <= len(group) <= 6
        for shape in group:
            unit = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3)
            if shape.kind != 'box':
                angle = np.linspace(0, 2 * np.pi, 721)
                ring = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1)
                unit = (
                    np.concatenate([ring + [0, y, 0] for y in (-1, 1)])
                    if shape.kind == 'cylinder'
                    else ring[:, [0, 2, 1]]
                )
            assert (shape.centre + unit @ shape.axes)[:, 1].min() == pytest.approx(0, abs=1e-4)
        for a, one in enumerate(group):
            for other in group[:a]:
                samples = np.random.default_rng(0).uniform(-1, 1, (2000, 3)) @ one.axes + one.centre
                assert (
                    np.abs((samples - other.centre) @ np.linalg.inv(other.axes)).max(1) > 1
                ).all()


def test_generated_files_hold_the_scenes(tmp_path, capsys):
    generate_scenes(tmp_path, 'shapes', dict(train=3), seed=4, size=64)
    assert 'drawing 3 shapes images' in capsys.readouterr().out
    assert json.loads((tmp_path / 'scenes.json').read_text())['world'] == 'shapes'
    for i in range(3):
        image, classes, depth, normals = draw_shapes(np.random.default_rng([4, *b'train', i]), 64)
        read = {
            kind: cv2.imread(str(tmp_path / kind / 'train' / f'{i:05d}.png'), cv2.IMREAD_UNCHANGED)
            for kind in ('img_dir', 'seg_dir', 'depth_dir', 'normals_dir')
        }
        np.testing.assert_array_equal(read['img_dir'][..., ::-1], image)
        np.testing.assert_array_equal(read['seg_dir'], classes)
        np.testing.assert_allclose(read['depth_dir'] / 1000, depth, atol=0.00051)
        np.testing.assert_array_equal(read['normals_dir'][..., ::-1], encode_normals(normals))
        assert read['depth_dir'].dtype == np.uint16
    (tmp_path / 'depth_dir/train/00001.png').unlink()
    generate_scenes(tmp_path, 'shapes', dict(train=3), seed=4, size=64)
    assert (tmp_path / 'depth_dir/train/00001.png').exists()


def test_every_world_says_where_its_arrays_go():
    for world, draw in generate.WORLDS.items():
        assert len(draw(np.random.default_rng(0), 64)) == len(generate.FOLDERS[world])
