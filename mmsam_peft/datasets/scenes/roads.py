"""The fine-tuning world."""

from itertools import pairwise

import cv2
import numpy as np

from .canvas import SHIFT, fill, lighten, noise, paste, photograph, rgb, stroke, winding

# Field colours (RGB) of one season or region each; the last column is a typical road there.
WATER = np.array([72, 98, 112], np.float32)
LANDSCAPES = np.array(
    [
        [
            [88, 118, 62],
            [116, 138, 78],
            [70, 98, 56],
            [158, 154, 98],
            [138, 124, 92],
            [142, 138, 126],
        ],  # summer
        [
            [150, 134, 82],
            [182, 160, 108],
            [112, 104, 68],
            [132, 104, 74],
            [94, 98, 62],
            [164, 148, 122],
        ],  # harvest
        [
            [176, 142, 104],
            [158, 122, 88],
            [192, 164, 126],
            [134, 112, 84],
            [120, 116, 82],
            [178, 152, 122],
        ],  # dry
        [
            [74, 92, 66],
            [98, 106, 84],
            [112, 104, 90],
            [84, 80, 72],
            [128, 124, 106],
            [104, 104, 104],
        ],  # late autumn
    ],
    np.float32,
)


def _varied(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """A neighbour of ``colour``: other brightness, nearly the same hue."""
    return (colour * rng.uniform(0.87, 1.13) + rng.normal(0, 4, 3)).astype(np.float32)


def _rim(rng: np.random.Generator, side: int) -> np.ndarray:
    """A point 20 pixels outside side 0..3 (left, top, right, bottom) of the picture."""
    along = rng.uniform(40, 216)
    return np.array([(-20, along), (along, -20), (276, along), (along, 276)][side % 4], float)


def _fields(rng: np.random.Generator, size: int, palette: np.ndarray) -> np.ndarray:
    """Farmland: skewed Voronoi cells with crop rows and mottled soil, (H, W, 3) float32."""
    count = int(rng.integers(7, 18))
    axis = np.linspace(0, 256, size, dtype=np.float32)
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.3, 2.2)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = axis[None] * c + axis[:, None] * s + 5 * noise(rng, size, 9)
    v = (axis[:, None] * c - axis[None] * s) * np.float32(stretch) + 5 * noise(rng, size, 9)
    seeds = rng.uniform(0, 256, (count, 2)).astype(np.float32)
    nearest, owner = np.full((size, size), np.inf, np.float32), np.zeros((size, size), np.uint8)
    for i, (x, y) in enumerate(seeds):
        distance = np.abs(u - (x * c + y * s)) + np.abs(v - (y * c - x * s) * np.float32(stretch))
        np.copyto(owner, i, where=distance < nearest)
        np.minimum(nearest, distance, out=nearest)
    colours = np.stack([_varied(rng, palette[rng.integers(len(palette))]) for _ in range(count)])
    rows = rng.uniform(-11, 11, count).astype(np.float32) * (rng.random(count) < 0.6)
    across = rng.random(count) < 0.5
    crop = np.sin(np.where(across[owner], u, v) * np.float32(rng.uniform(0.9, 1.5))) * rows[owner]
    mottle = 9 * noise(rng, size, 8) + 7 * noise(rng, size, 30) + 6 * noise(rng, size, size // 2)
    return colours[owner] + rgb(crop + mottle)


def _stream(rng: np.random.Generator, image: np.ndarray, colour: np.ndarray) -> None:
    """A brook: winds more than a road, swells and narrows, has a soft dark bank."""
    size, side = len(image), int(rng.integers(4))
    line = winding(rng, _rim(rng, side), _rim(rng, side + int(rng.integers(1, 4))), 0.22)
    width = rng.uniform(5, 9) * (
        1 + 0.7 * np.sin(np.linspace(0, rng.uniform(8, 25), len(line) - 1) + rng.uniform(0, 6))
    )
    bed = np.zeros((size, size), np.uint8)
    for step, w in zip(pairwise(line), width, strict=True):
        stroke(bed, np.stack(step), w + 1, 255)
    bank = cv2.GaussianBlur(bed, (0, 0), 3 * size / 256)
    lighten(image, bank * np.float32(-0.35 / 255))
    paste(image, cv2.GaussianBlur(bed, (0, 0), size / 256), colour)


def _network(
    rng: np.random.Generator, size: int
) -> tuple[list[tuple[np.ndarray, float]], np.ndarray]:
    """Roads as ``(line, width)``: one or two that cross the picture, perhaps branches; and their
    coverage (H, W) uint8."""
    side = int(rng.integers(4))
    roads = []
    for k in range(1 + int(rng.random() < 0.25)):
        line = winding(rng, _rim(rng, side + k), _rim(rng, side + k + 2), 0.13)
        roads.append((line, rng.uniform(13, 19) - 3 * k))
        if rng.random() < 0.6:
            junction = line[rng.integers(14, 34)]
            roads.append(
                (
                    winding(rng, junction, _rim(rng, side + k + rng.choice([1, 3])), 0.12),
                    rng.uniform(10, 14),
                )
            )
    cover = np.zeros((size, size), np.uint8)
    for line, width in roads:
        stroke(cover, line, width, 255)
    return roads, cover


def _pave(
    rng: np.random.Generator, image: np.ndarray, roads: list, cover: np.ndarray, colour: np.ndarray
) -> None:
    """Road surface with a verge, and either a dashed centre line or wheel tracks."""
    size = len(image)
    verge = np.zeros_like(cover)
    for line, width in roads:
        stroke(verge, line, width + 4, 255)
    paste(
        image,
        cv2.GaussianBlur(verge, (0, 0), 1.2 * size / 256) // 2,
        colour * np.float32(rng.uniform(0.7, 1.1)),
    )
    wear = 5 * noise(rng, size, 20) + 5 * noise(rng, size, size // 2)
    paste(image, cover, cv2.merge([wear + c for c in colour]))
    marks, dashed = np.zeros_like(cover), rng.random() < 0.5
    for line, width in roads:
        if dashed:
            for dash in line.reshape(-1, 2, 2):
                stroke(marks, dash, 1, 150)
        else:
            normal = np.gradient(line, axis=0)[:, ::-1] * [-1, 1]
            normal *= width / 4 / np.linalg.norm(normal, axis=1, keepdims=True)
            for lane in (line - normal, line + normal):
                stroke(marks, lane, 2, 70)
    paste(image, marks, colour + np.float32(60 if dashed else -45))


def _buildings(
    rng: np.random.Generator,
    image: np.ndarray,
    cover: np.ndarray,
    colour: np.ndarray,
    sun: np.ndarray,
) -> None:
    """Yards and two-sided roofs in nearly the road's colour, off the road."""
    size = len(image)
    shade = [0.45 * c for c in cv2.mean(image)]
    near = cv2.dilate(cover, np.ones((3, 3), np.uint8), iterations=round(9 * size / 256))
    for _ in range(rng.integers(3, 10)):
        centre, turn = rng.uniform(8, 248, 2), rng.uniform(0, np.pi)
        if near[tuple((centre[::-1] * size / 256).astype(int))]:
            continue
        axes = np.array(
            [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        ) * rng.uniform(4, 11, (2, 1))
        box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, 0], [1, 0]]) @ axes + centre
        tint = _varied(rng, colour)
        if rng.random() < 0.65:
            fill(image, [box[:4] + sun], shade)
        fill(image, [box[:4]], tint.tolist())
        fill(image, [box[[4, 5, 2, 3]]], (tint * 0.82).tolist())


def _trees(
    rng: np.random.Generator, image: np.ndarray, roads: list, palette: np.ndarray, sun: np.ndarray
) -> None:
    """Single trees, a wood, and trees beside the road that hide part of it; each with its
    shadow."""
    scale = len(image) / 256 * 2**SHIFT
    groves = [
        rng.uniform(0, 256, 2) + rng.normal(0, 16, (int(rng.integers(8, 30)), 2))
        for _ in range(rng.integers(1, 4))
    ]
    beside = [line[rng.integers(0, len(line), 9)] + rng.normal(0, 10, (9, 2)) for line, _ in roads]
    spots = np.concatenate([rng.uniform(0, 256, (12, 2)), *groves, *beside])
    green = palette.min(0) * np.array([0.62, 0.78, 0.6], np.float32)
    radii, tints = rng.uniform(3, 7, len(spots)), rng.uniform(0.75, 1.25, len(spots))
    for (x, y), r in zip(spots + sun, radii, strict=True):
        cv2.circle(
            image,
            (int(x * scale), int(y * scale)),
            int(r * scale),
            (green * 0.45).tolist(),
            -1,
            cv2.LINE_AA,
            SHIFT,
        )
    for (x, y), r, tint in zip(spots, radii, tints, strict=True):
        for step, light in (
            (0, 0.8),
            (0.25, 1.05),
            (0.5, 1.35),
        ):  # rounder and lighter towards the sun
            spot = (int((x - step * sun[0] * 0.5) * scale), int((y - step * sun[1] * 0.5) * scale))
            cv2.circle(
                image,
                spot,
                int(r * (1 - step) * scale),
                (green * tint * light).tolist(),
                -1,
                cv2.LINE_AA,
                SHIFT,
            )


def draw_roads(rng: np.random.Generator, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Farmland with roads, streams, buildings and trees, seen from above. Mask: road, whether or
    not a tree hides it."""
    landscape = LANDSCAPES[rng.integers(len(LANDSCAPES))]
    palette, typical = landscape[:-1], landscape[-1]
    own = np.float32(rng.uniform(0, 0.3))  # how much of the road's colour is a field's
    colour = _varied(rng, own * palette[rng.integers(len(palette))] + (1 - own) * typical)
    direction = rng.uniform(0, 2 * np.pi)
    sun = rng.uniform(2, 5) * np.array([np.cos(direction), np.sin(direction)])

    image = _fields(rng, size, palette)
    for _ in range(rng.integers(0, 3)):
        _stream(rng, image, _varied(rng, 0.4 * colour + 0.6 * WATER))
    roads, cover = _network(rng, size)
    _pave(rng, image, roads, cover, colour)
    _buildings(rng, image, cover, colour, sun)
    image = np.ascontiguousarray(image.clip(0, 255))
    _trees(rng, image, roads, palette, sun)
    lighten(image, 0.16 * noise(rng, size, 5))
    image += 5 * rgb(noise(rng, size, size // 2))
    return photograph(rng, image, rng.uniform(0.4, 0.9), rng.uniform(1, 5)), (cover > 127).astype(
        np.uint8
    )
