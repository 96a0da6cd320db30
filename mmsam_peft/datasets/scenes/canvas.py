"""What both worlds are drawn with. Coordinates are pixels at size 256 and scale with the size of
the picture."""

import cv2
import numpy as np

SHIFT = 4  # fractional bits of the fixed-point coordinates OpenCV draws with


def noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise of ``cells`` x ``cells`` random knots, about [-1, 1], (H, W) float32."""
    knots = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)


def ramp(rng: np.random.Generator, size: int) -> np.ndarray:
    """Coordinate along a random direction, in pixels at size 256, (H, W) float32."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-128, 128, size, dtype=np.float32)
    return axis[None] * np.float32(np.cos(angle)) + axis[:, None] * np.float32(np.sin(angle))


def rgb(plane: np.ndarray) -> np.ndarray:
    """(H, W) to (H, W, 3), several times faster than numpy's broadcasting over a last axis of
    three."""
    return cv2.merge([plane] * 3)


def lighten(image: np.ndarray, amount: np.ndarray) -> None:
    """``image *= 1 + amount`` in place; ``amount`` (H, W)."""
    image *= rgb(1 + amount.astype(np.float32, copy=False))


def paste(image: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> None:
    """``image += alpha / 255 * (colour - image)`` in place; ``alpha`` (H, W) uint8, ``colour`` (3,)
    or (H, W, 3)."""
    x, y, w, h = cv2.boundingRect(alpha)
    if not w:  # outside the picture
        return
    box = np.s_[y : y + h, x : x + w]
    weight = alpha[box] * np.float32(1 / 255)
    colour = (
        colour[box]
        if colour.ndim == 3
        else cv2.merge([np.full((h, w), c, np.float32) for c in colour])
    )
    image[box] += rgb(weight) * (colour - image[box])


def _fixed(points: np.ndarray, size: int) -> np.ndarray:
    return np.rint(points * (size / 256 * 2**SHIFT)).astype(np.int32)


def fill(canvas: np.ndarray, contours: list[np.ndarray], colour: int | list[float]) -> None:
    """Fill what an odd number of ``contours``, each (N, 2), encloses."""
    cv2.fillPoly(canvas, [_fixed(c, len(canvas)) for c in contours], colour, cv2.LINE_AA, SHIFT)


def stroke(canvas: np.ndarray, points: np.ndarray, width: float, colour: int) -> None:
    """Draw the open line through ``points`` (N, 2)."""
    size = len(canvas)
    cv2.polylines(
        canvas,
        [_fixed(points, size)],
        False,
        colour,
        max(1, round(width * size / 256)),
        cv2.LINE_AA,
        SHIFT,
    )


def winding(
    rng: np.random.Generator, start: np.ndarray, end: np.ndarray, bend: float
) -> np.ndarray:
    """A line from ``start`` to ``end`` whose sideways swing is about ``bend`` of its length, (N,
    2)."""
    t = np.linspace(0, 1, 48)
    swing = sum(rng.normal(0, bend) / k * np.sin(np.pi * k * t) for k in range(1, 6))
    along = end - start
    return start + t[:, None] * along + swing[:, None] * np.array([-along[1], along[0]])


def shifted(alpha: np.ndarray, offset: np.ndarray, blur: float) -> np.ndarray:
    """``alpha`` moved by ``offset`` pixels at size 256, softened: the shadow of a shape."""
    size = len(alpha)
    move = np.float32([[1, 0, offset[0] * size / 256], [0, 1, offset[1] * size / 256]])
    return cv2.GaussianBlur(cv2.warpAffine(alpha, move, (size, size)), (0, 0), blur * size / 256)


def photograph(
    rng: np.random.Generator, image: np.ndarray, blur: float, grain: float
) -> np.ndarray:
    """Exposure, colour cast, blur and grain of one picture, float32 to uint8; ``blur`` in pixels,
    ``grain`` in grey levels."""
    image = cv2.GaussianBlur(image, (0, 0), blur)
    gains = rng.uniform(0.82, 1.15) * rng.uniform(0.96, 1.04, 3)
    image = cv2.merge(
        [channel * np.float32(gain) for channel, gain in zip(cv2.split(image), gains, strict=True)]
    )
    image += rng.integers(-127, 128, image.shape, np.int8) * np.float32(grain / 127)
    return np.rint(image.clip(0, 255)).astype(np.uint8)
