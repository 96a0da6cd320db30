"""The pre-training world."""

import cv2
import numpy as np

from .canvas import fill, lighten, noise, paste, photograph, ramp, shifted, stroke


def _colour(rng: np.random.Generator) -> np.ndarray:
    hsv = np.array([[[rng.uniform(0, 360), rng.beta(1.2, 1.5), rng.uniform(0.15, 1)]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _material(rng: np.random.Generator, size: int) -> np.ndarray:
    """Two colours mixed by a random pattern, with grain, (H, W, 3) float32."""
    pattern = rng.choice(
        ['flat', 'gradient', 'noise', 'checker', 'stripes'], p=[0.15, 0.25, 0.3, 0.1, 0.2]
    )
    frequency = np.float32(np.exp(rng.uniform(np.log(0.1), np.log(0.9))))
    if pattern == 'flat':
        mix = np.zeros((size, size), np.float32)
    elif pattern == 'gradient':
        mix = ramp(rng, size) / 128
    elif pattern == 'noise':
        mix = noise(rng, size, int(rng.integers(3, 40)))
    elif pattern == 'checker':
        along = ramp(rng, size)
        mix = np.sign(np.sin(frequency * along) * np.sin(frequency * along.T[::-1]))
    else:
        mix = (np.sin(frequency * ramp(rng, size)) * rng.uniform(1, 6)).clip(-1, 1)
    mix += rng.uniform(0, 0.5) * noise(rng, size, size // 3)
    return cv2.merge([mix * np.float32(rng.normal(0, 28)) + colour for colour in _colour(rng)])


def _outline(rng: np.random.Generator, family: str) -> np.ndarray:
    """Corners of a shape of about unit radius, (N, 2)."""
    count = {'polygon': rng.integers(3, 8), 'star': 2 * rng.integers(4, 9)}.get(family, 60)
    angle = np.arange(count) * (2 * np.pi / count)
    radius = np.ones(count)
    if family == 'polygon':
        angle = angle + rng.uniform(-0.35, 0.35, count) * 2 * np.pi / count
        radius = rng.uniform(0.75, 1.1, count)
    elif family == 'star':
        radius[1::2] = rng.uniform(0.35, 0.7)
    elif family == 'blob':
        for k in range(2, 7):
            radius += rng.uniform(0, 0.5) / k * np.sin(k * angle + rng.uniform(0, 2 * np.pi))
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _object(rng: np.random.Generator, size: int) -> np.ndarray:
    """Coverage of one object, (H, W) uint8."""
    family = rng.choice(['polygon', 'ellipse', 'star', 'blob', 'ring', 'glyph', 'cloud'])
    alpha = np.zeros((size, size), np.uint8)
    centre, radius = rng.uniform(30, 226, 2), np.exp(rng.uniform(np.log(16), np.log(80)))
    turn, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 1)
    c, s = np.cos(turn), np.sin(turn)
    place = radius * np.array([[c, s], [-s * stretch, c * stretch]])
    if family == 'glyph':
        points = rng.permutation(9)[: rng.integers(3, 6)]
        stroke(
            alpha,
            np.stack([points % 3 - 1, points // 3 - 1], 1) @ place + centre,
            radius * rng.uniform(0.2, 0.45),
            255,
        )
    elif family == 'cloud':
        axis = np.linspace(0, 256, size)
        distance = np.hypot(axis[None] - centre[0], axis[:, None] - centre[1]) / radius
        soft = 1 - distance + 0.8 * noise(rng, size, 12)
        alpha = (soft * radius * 255 / 2 + 127).clip(0, 255).astype(np.uint8)
    else:
        outline = _outline(rng, family)
        holes = [rng.uniform(0.4, 0.75) * outline] if family == 'ring' else []
        fill(alpha, [x @ place + centre for x in [outline, *holes]], 255)
    return alpha


def draw_objects(rng: np.random.Generator, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """One to six things on a background; they overlap, cast shadows and vary in sharpness. Mask:
    every thing."""
    return draw_instances(rng, size)[:2]


def draw_instances(
    rng: np.random.Generator, size: int = 256
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As ``draw_objects``; and which thing is seen at a pixel, uint8 (H, W), 0 for none."""
    image = _material(rng, size)
    instances = np.zeros((size, size), np.uint8)
    sun = rng.uniform(-9, 9, 2)
    for number in range(1, 1 + rng.integers(1, 7)):
        alpha = _object(rng, size)
        if rng.random() < 0.6:
            shadow = shifted(alpha, sun, rng.uniform(1, 5))
            lighten(image, shadow * np.float32(-rng.uniform(0.2, 0.6) / 255))
        paste(image, alpha, _material(rng, size))
        instances[alpha > 127] = number
    lighten(image, 0.2 * noise(rng, size, 4))
    image = photograph(rng, image, rng.uniform(0.3, 1.3), rng.uniform(0, 10))
    return image, (instances > 0).astype(np.uint8), instances
