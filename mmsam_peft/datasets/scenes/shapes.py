"""The multi-task world: solid things on a floor before a wall, with their classes, depth and
surface normals.

Every shape is a unit sphere, cube or cylinder under an affine map, and each of these is where one
or more intervals along a ray overlap. World and camera axes: x to the right, y up, z towards the
viewer.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .canvas import noise, photograph, rgb

CLASSES = ('wall', 'floor', 'sphere', 'box', 'cylinder')
QUADRIC_AXES, SLAB_AXES = (
    {'sphere': [0, 1, 2], 'cylinder': [0, 2]},
    {'box': [0, 1, 2], 'cylinder': [1]},
)


@dataclass
class Shape:
    """A unit shape put into the world: ``world = centre + local @ axes``.

    Args:
        kind: 'sphere', 'box' or 'cylinder' (along its second axis).
        centre: (3,).
        axes: (3, 3), a row for each local axis: its direction in the world times half the shape's
            size along it.
    """

    kind: str
    centre: np.ndarray
    axes: np.ndarray

    def __post_init__(self) -> None:
        self.to_local = np.linalg.inv(self.axes)

    def distance(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Where the rays ``origin + t * rays``, both (..., 3), enter the shape: t > 0, inf for
        those that miss, (...)."""
        start, step = (origin - self.centre) @ self.to_local, rays @ self.to_local
        enter, leave = np.full(rays.shape[:-1], 1e-6), np.full(rays.shape[:-1], np.inf)
        with np.errstate(divide='ignore', invalid='ignore'):
            if self.kind in QUADRIC_AXES:
                x, d = start[..., QUADRIC_AXES[self.kind]], step[..., QUADRIC_AXES[self.kind]]
                a, b = (d * d).sum(-1), (d * x).sum(-1)
                root = np.sqrt(b * b - a * ((x * x).sum(-1) - 1))  # NaN where the ray misses
                enter, leave = (
                    np.maximum(enter, (-b - root) / a),
                    np.minimum(leave, (-b + root) / a),
                )
            for axis in SLAB_AXES.get(self.kind, []):
                ends = np.stack(
                    [
                        (-1 - start[..., axis]) / step[..., axis],
                        (1 - start[..., axis]) / step[..., axis],
                    ]
                )
                enter, leave = np.maximum(enter, ends.min(0)), np.minimum(leave, ends.max(0))
            return np.where(enter < leave, enter, np.inf)

    def normal(self, points: np.ndarray) -> np.ndarray:
        """Outward unit normals at ``points`` (N, 3) of the surface, (N, 3)."""
        local = (points - self.centre) @ self.to_local
        if self.kind == 'box':
            gradient = np.where(
                np.abs(local) == np.abs(local).max(1, keepdims=True), np.sign(local), 0
            )
        elif self.kind == 'cylinder':
            on_cap = np.abs(local[:, 1]) > np.hypot(local[:, 0], local[:, 2])
            gradient = np.where(on_cap[:, None], local * [0, 1, 0], local * [1, 0, 1])
        else:
            gradient = local
        normals = gradient @ self.to_local.T
        return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _rotation(axis: int, angle: float) -> np.ndarray:
    """Turns row vectors about x (0), y (1) or z (2)."""
    matrix, (i, j) = np.eye(3), [k for k in range(3) if k != axis]
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = np.sin(angle), -np.sin(angle)
    return matrix


def _shape(rng: np.random.Generator, kind: str, place: np.ndarray) -> Shape:
    """A random shape of the kind that stands, or lies, on the floor at ``place`` (x, z)."""
    size = rng.uniform(0.22, 0.55, 3)
    if kind == 'sphere':
        size = size[[0, 0, 0]]
    elif kind == 'cylinder':
        size[2] = size[0]
    axes = np.diag(size)
    if kind == 'cylinder' and rng.random() < 0.4:
        axes = axes @ _rotation(0, np.pi / 2)  # lying
    axes = axes @ _rotation(1, rng.uniform(0, 2 * np.pi))
    lowest = size[0] if kind == 'sphere' else np.abs(axes[:, 1]).max()
    return Shape(kind, np.array([place[0], lowest, place[1]]), axes)


def _reach(shape: Shape) -> float:
    """No point of the shape is farther from the vertical through its centre."""
    return float(np.linalg.norm(shape.axes[:, [0, 2]]))


def _arrange(rng: np.random.Generator, wall: float, slope: float) -> list[Shape]:
    """Two to six shapes that do not touch, in front of the wall and, by ``slope`` = tan(half the
    field of view), in sight."""
    shapes = []
    for _ in range(rng.integers(2, 7)):
        for _ in range(20):
            z = rng.uniform(1.9, wall - 0.8)
            shape = _shape(
                rng,
                str(rng.choice(['sphere', 'box', 'cylinder'])),
                np.array([rng.uniform(-1, 1) * slope * z, -z]),
            )
            if all(
                np.hypot(*(shape.centre - other.centre)[[0, 2]]) > _reach(shape) + _reach(other)
                for other in shapes
            ):
                shapes.append(shape)
                break
    return shapes


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    hsv = np.stack(
        [rng.uniform(0, 360, count), rng.uniform(0.1, 0.8, count), rng.uniform(0.45, 0.95, count)],
        1,
    )
    return cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0] * 255


def draw_shapes(
    rng: np.random.Generator, size: int = 128
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A scene as seen by a pinhole camera of random height, pitch, yaw and focal length.

    Returns:
        image (H, W, 3) uint8 RGB; classes (H, W) uint8, numbers of ``CLASSES``; depth (H, W)
        float32, metres along the optical axis; normals (H, W, 3) float32, unit vectors in camera
        axes.
    """
    slope = 0.5 / rng.uniform(0.8, 1.2)
    across = (np.arange(size) + 0.5 - size / 2) * (2 * slope / size)
    rays = np.stack(
        [*np.meshgrid(across, -across), -np.ones((size, size))], -1
    )  # depth 1: t along them is depth
    turn = _rotation(0, rng.uniform(0.1, 0.45)).T @ _rotation(1, rng.uniform(-0.3, 0.3))
    origin, wall = np.array([0, rng.uniform(1.1, 1.9), 0]), rng.uniform(4, 6.5)
    shapes = _arrange(rng, wall, slope)

    rays = rays @ turn
    with np.errstate(divide='ignore'):
        planes = np.stack(
            [-wall / rays[..., 2], np.where(rays[..., 1] < 0, -origin[1] / rays[..., 1], np.inf)]
        )
    distances = np.concatenate([planes, [shape.distance(origin, rays) for shape in shapes]])
    hit, depth = distances.argmin(0), distances.min(0)
    points = origin + depth[..., None] * rays
    normals = np.where((hit == 0)[..., None], [0.0, 0, 1], [0.0, 1, 0])
    for i, shape in enumerate(shapes, 2):
        normals[hit == i] = shape.normal(points[hit == i])

    towards_light = np.array([rng.uniform(-0.8, 0.8), 1, rng.uniform(0.1, 0.9)])
    towards_light /= np.linalg.norm(towards_light)
    start = points + 1e-3 * normals
    dark = np.any(
        [np.isfinite(shape.distance(start, towards_light + 0 * start)) for shape in shapes], 0
    )
    light = 0.45 + 0.6 * np.maximum(normals @ towards_light, 0) * (1 - 0.8 * dark) - 0.03 * depth
    grain = 1 + 0.12 * noise(rng, size, 6) + 0.06 * noise(rng, size, size // 3)
    image = _colours(rng, len(distances))[hit] * rgb((light * grain).astype(np.float32))
    classes = np.array([0, 1, *(CLASSES.index(shape.kind) for shape in shapes)], np.uint8)[hit]
    normals = (normals @ turn.T).astype(np.float32)
    return (
        photograph(rng, image, 0.5, rng.uniform(1, 5)),
        classes,
        depth.astype(np.float32),
        normals,
    )
