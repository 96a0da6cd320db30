"""Transforms of a ball before a slanted plane are what another camera sees of it. Axes: x right, y
up, z towards the viewer."""

from typing import NamedTuple

import numpy as np
import pytest

from mmsam_peft.datasets.transforms import MultiTaskFlip, MultiTaskResize, MultiTaskZoomCrop
from mmsam_peft.tasks import build_tasks

TASKS = build_tasks(
    [
        dict(type='SemanticSegmentation', name='seg', num_classes=2),
        dict(type='Depth', name='depth'),
        dict(type='InverseDepth', name='inverse'),
        dict(type='SurfaceNormals', name='normals'),
    ]
)
SIZES = [
    (96, 120),
    (64, 112),
]  # a fifth or so off the second is no whole number of pixels: it is enlarged by 1.206


class Camera(NamedTuple):
    """A pixel at (x, y), from the upper left corner, is what the ray ((x - cx) / fx, (cy - y) / fy,
    -1) meets."""

    fx: float
    fy: float
    cx: float
    cy: float


class Scene(NamedTuple):
    """A ball, and the points P with normal . P = offset."""

    centre: np.ndarray
    radius: float
    normal: np.ndarray
    offset: float


def make_scene(rng: np.random.Generator) -> tuple[Scene, Camera]:
    normal = np.array([*rng.uniform(-0.4, 0.4, 2), 1])
    normal /= np.linalg.norm(normal)
    scene = Scene(
        np.array([*rng.uniform(-0.4, 0.4, 2), -3]),
        rng.uniform(0.5, 0.9),
        normal,
        normal @ [0, 0, -5],
    )
    return scene, Camera(130, 130, *rng.uniform(45, 65, 2))


def render(scene: Scene, camera: Camera, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Labels (H, W, c) by the formulas of ray, ball and plane: depth is along the optical axis."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    rays = np.stack([(x - camera.cx) / camera.fx, (camera.cy - y) / camera.fy, -np.ones(size)], -1)
    a, b = (rays**2).sum(-1), rays @ scene.centre
    inside = b**2 - a * (scene.centre @ scene.centre - scene.radius**2)
    ball = inside > 0
    depth = np.where(
        ball, (b - np.sqrt(np.maximum(inside, 0))) / a, scene.offset / (rays @ scene.normal)
    )[..., None]
    normals = np.where(ball[..., None], (depth * rays - scene.centre) / scene.radius, scene.normal)
    return dict(
        seg=ball[..., None].astype(np.int64),
        depth=depth.astype(np.float32),
        inverse=(1 / depth).astype(np.float32),
        normals=normals.astype(np.float32),
    )


def sample(
    labels: dict[str, np.ndarray], holes: float = 0, rng: np.random.Generator | None = None
) -> dict:
    """With an image that says of each pixel where it is, and no value at a share ``holes`` of the
    labels' pixels."""
    size = labels['seg'].shape[:2]
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    labels = {name: label.copy() for name, label in labels.items()}
    unknown = rng.random(size) < holes if holes else np.zeros(size, bool)
    for name, value in dict(seg=255, depth=0, inverse=0, normals=0).items():
        labels[name][unknown] = value
    valid = {task.name: task.valid(labels[task.name]) for task in TASKS}
    return dict(
        img=np.stack([x, y, 0 * x], -1).astype(np.float32), tasks=TASKS, labels=labels, valid=valid
    )


def inner(seg: np.ndarray, reach: int) -> np.ndarray:
    """Pixels farther than ``reach`` from the ball's outline and the border of the picture."""
    H, W = seg.shape[:2]
    shifts = [
        np.s_[y : H - 2 * reach + y, x : W - 2 * reach + x]
        for y in range(2 * reach + 1)
        for x in range(2 * reach + 1)
    ]
    far = np.zeros((H, W), bool)
    far[reach:-reach, reach:-reach] = np.ptp([seg[shift][..., 0] for shift in shifts], axis=0) == 0
    return far


def zoomed(results: dict, camera: Camera, seed: int, scale: float) -> tuple[dict, Camera, float]:
    """After a zoom: what is seen, the camera that sees it, and how many times as large things
    are."""
    np.random.seed(seed)
    results = MultiTaskZoomCrop(scales=[scale])(results)
    H, W = results['img'].shape[:2]
    x, y = results['img'][H // 2, W // 2, :2]  # where the pixel in the middle comes from
    height, width = round(H / scale), round(W / scale)
    fx, fy = W / width, H / height
    left, top = x - (W // 2 + 0.5) / fx, y - (H // 2 + 0.5) / fy
    assert abs(left - round(left)) < 1e-3 > abs(top - round(top)), 'crops begin at whole pixels'
    seen = Camera(
        camera.fx * fx,
        camera.fy * fy,
        (camera.cx - round(left)) * fx,
        (camera.cy - round(top)) * fy,
    )
    return results, seen, np.sqrt(fx * fy)


def nearer(scene: Scene, scale: float) -> Scene:
    """The scene, smaller and nearer by ``scale``: looks the same."""
    return Scene(scene.centre / scale, scene.radius / scale, scene.normal, scene.offset / scale)


def assert_sees(
    results: dict, expected: dict[str, np.ndarray], relative: float, degrees: float, reach: int = 3
) -> None:
    """Away from the outline, where both surfaces mix."""
    where = inner(expected['seg'], reach) & results['valid']['depth']
    assert where.sum() > 2000 and 0.05 < expected['seg'][where].mean() < 0.9
    np.testing.assert_array_equal(
        results['labels']['seg'][where & results['valid']['seg']],
        expected['seg'][where & results['valid']['seg']],
    )
    for name in ('depth', 'inverse'):
        np.testing.assert_allclose(
            results['labels'][name][where], expected[name][where], rtol=relative
        )
    cosine = (results['labels']['normals'] * expected['normals']).sum(-1)[where]
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < degrees


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('size', SIZES)
def test_a_mirrored_picture_is_one_of_the_mirrored_scene(size, seed):
    scene, camera = make_scene(np.random.default_rng(seed))
    mirror = np.array([-1, 1, 1])
    other = scene._replace(centre=scene.centre * mirror, normal=scene.normal * mirror)
    expected = render(other, camera._replace(cx=size[1] - camera.cx), size)
    results = MultiTaskFlip(prob=1)(sample(render(scene, camera, size)))
    for name, label in expected.items():
        np.testing.assert_allclose(results['labels'][name], label, rtol=1e-5, atol=1e-5)
    assert np.abs(render(scene, camera, size)['normals'] - expected['normals']).max() > 0.1


@pytest.mark.parametrize('scale', [1.2, 1.5, 2.0])
@pytest.mark.parametrize('seed', [1, 2, 3])
@pytest.mark.parametrize('size', SIZES)
def test_a_zoom_is_a_longer_lens_before_a_nearer_scene(size, seed, scale):
    scene, camera = make_scene(np.random.default_rng(seed))
    results, seen, magnified = zoomed(sample(render(scene, camera, size)), camera, seed, scale)
    expected = render(nearer(scene, magnified), seen, size)
    assert results['valid']['depth'].all() and results['valid']['normals'].all()
    assert_sees(results, expected, relative=3e-3, degrees=1)


@pytest.mark.parametrize('seed', range(3))
def test_unknown_depth_does_not_bleed(seed):
    """With a third of the pixels unknown the rest are right but for the half pixel by which a mean
    may be off; a single zero among four pixels would be an error of a quarter or more."""
    rng = np.random.default_rng(seed)
    scene, camera = make_scene(rng)
    results, seen, magnified = zoomed(
        sample(render(scene, camera, SIZES[0]), 0.3, rng), camera, seed, 1.5
    )
    assert 0.005 < 1 - results['valid']['depth'].mean() < 0.3
    assert (results['labels']['depth'][~results['valid']['depth']] == 0).all()
    assert_sees(results, render(nearer(scene, magnified), seen, SIZES[0]), relative=0.05, degrees=8)


@pytest.mark.parametrize('seed', range(2))
def test_flip_zoom_and_resize_in_a_row(seed):
    """As in training, but labels too are resized: which changes no depth, for the picture shows the
    same."""
    scene, camera = make_scene(np.random.default_rng(seed))
    size = SIZES[0]
    results, seen, magnified = zoomed(sample(render(scene, camera, size)), camera, seed, 1.5)
    results = MultiTaskResize(size=180, labels=True)(MultiTaskFlip(prob=1)(results))
    mirror = np.array([-1, 1, 1])
    other = nearer(
        scene._replace(centre=scene.centre * mirror, normal=scene.normal * mirror), magnified
    )
    seen = Camera(seen.fx * 1.5, seen.fy * 1.5, (size[1] - seen.cx) * 1.5, seen.cy * 1.5)
    assert results['img'].shape == (144, 180, 3)
    assert_sees(results, render(other, seen, (144, 180)), relative=4e-3, degrees=2, reach=6)
