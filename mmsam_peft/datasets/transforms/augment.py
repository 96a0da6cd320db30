"""Random changes of training samples: of where things are, and of colours.

They suit masks (``seg_fields``) and the labels of several tasks (``labels``, ``valid``) alike, and
images of any number of bands and any range of values.
"""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS
from ...tasks.base import IGNORE
from ...tasks.normals import SurfaceNormals

AT_ONCE = 4
"""How many bands OpenCV moves in one call."""
ON_AN_EDGE = 1e-9
"""What rounding may take from a point on the edge of two pixels."""


@TRANSFORMS.register_module()
class RandomAffine(BaseTransform):
    """Magnifies and turns a sample about its middle; sizes stay.

    Images are interpolated bilinearly, masks and labels take the nearest pixel. What comes in from
    outside has the mean colour of the image, and is ignored: 255 in masks, not valid in labels.

    Args:
        scale: The least and the greatest magnification; its logarithm is drawn evenly.
        degrees: The angle is drawn evenly from -degrees to degrees.

    Raises:
        ValueError: The arguments; and labels of several tasks that would no longer be true: any in
            a change of scale (``MultiTaskZoomCrop`` knows what becomes of them), and normals in a
            turn, as their values turn too, in a sense that labels do not tell.
    """

    def __init__(self, scale: tuple[float, float] = (1, 1), degrees: float = 0) -> None:
        if not 0 < scale[0] <= scale[1] or not 0 <= degrees <= 180:
            raise ValueError(
                f'got scale={scale}, degrees={degrees}, expected 0 < least <= greatest, and '
                'degrees from 0 to 180.'
            )
        self.scale, self.degrees = tuple(scale), degrees

    def transform(self, results: dict) -> dict:
        tasks = [
            task for task in results.get('tasks', ()) if task.name in results.get('labels', ())
        ]
        self._require_sound(tasks)
        size = results['img'].shape[:2]
        scale = np.exp(np.random.uniform(*np.log(self.scale)))
        angle = np.deg2rad(np.random.uniform(-self.degrees, self.degrees))
        back = inverse_matrix(scale, angle, size)
        results['img'] = warp_image(results['img'], back)
        for name in results.get('seg_fields', ()):
            results[name] = warp_nearest(results[name], back, size, IGNORE)
        for task in tasks:
            for field in ('labels', 'valid'):
                results[field][task.name] = warp_nearest(results[field][task.name], back, size, 0)
        return results

    def _require_sound(self, tasks: list) -> None:
        if tasks and self.scale != (1, 1):
            raise ValueError(
                'RandomAffine does not know what becomes of depth and other values in a change of '
                'scale: use MultiTaskZoomCrop.'
            )
        normals = [task.name for task in tasks if isinstance(task, SurfaceNormals)]
        if normals and self.degrees:
            raise ValueError(
                f"RandomAffine cannot turn the task '{normals[0]}': normals turn with the image, "
                'but whether their y points up or down, and so the sense of the turn, is not known.'
            )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(scale={self.scale}, degrees={self.degrees})'


def inverse_matrix(scale: float, angle: float, size: tuple[int, int]) -> np.ndarray:
    """(2, 3): from where a point (x, y) of the changed image (H, W) comes. Pixels are areas: the
    middle of the first one is (0.5, 0.5). A positive angle turns clockwise as one sees it."""
    middle = np.array([size[1], size[0]]) / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    return np.column_stack([turn, middle - turn @ middle])


def warp_image(image: np.ndarray, back: np.ndarray) -> np.ndarray:
    """An image (H, W) or (H, W, C) of any type; its mean colour comes in from outside."""
    height, width = image.shape[:2]
    bands = image.reshape(height, width, -1)
    shift = np.array([0.5, 0.5])  # OpenCV counts from the middle of the first pixel
    matrix = np.column_stack([back[:, :2], back[:, :2] @ shift + back[:, 2] - shift])
    working = bands if bands.dtype in (np.uint8, np.uint16) else bands.astype(np.float32)
    parts = [
        cv2.warpAffine(
            np.ascontiguousarray(part),
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=part.reshape(-1, part.shape[2]).mean(0).tolist(),
        ).reshape(height, width, -1)
        for part in np.split(working, range(AT_ONCE, bands.shape[2], AT_ONCE), axis=2)
    ]
    warped = np.concatenate(parts, axis=2)
    return as_type(warped, image.dtype).reshape(image.shape)


def warp_nearest(
    values: np.ndarray, back: np.ndarray, size: tuple[int, int], outside: int
) -> np.ndarray:
    """A mask or label (h, w, ...), of an image of ``size`` (H, W), by its nearest pixels.

    Args:
        back: Of the image, see ``inverse_matrix``.
        outside: What comes in from outside.
    """
    h, w = values.shape[:2]
    across, down = size[1] / w, size[0] / h
    columns, rows = (np.arange(w) + 0.5) * across, (np.arange(h)[:, None] + 0.5) * down
    (xx, xy, x0), (yx, yy, y0) = back
    x = np.floor((xx * columns + (xy * rows + x0)) / across + ON_AN_EDGE).astype(np.int32)
    y = np.floor((yx * columns + (yy * rows + y0)) / down + ON_AN_EDGE).astype(np.int32)
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    warped = np.full_like(values, outside)
    warped[inside] = values[y[inside], x[inside]]
    return warped


@TRANSFORMS.register_module()
class RandomColour(BaseTransform):
    """Changes brightness, contrast and the balance of the bands, and of three bands saturation and
    hue. Each is a linear map, so that nothing is said of the range of values; whole numbers stay
    within their type.

    Args:
        brightness: By how many standard deviations of the image it becomes brighter or darker, at
            most.
        contrast: The distances from the mean are multiplied by 1 - contrast to 1 + contrast.
        balance: The same for each band on its own.
        saturation: The same for the distances of the three colours from their mean.
        hue: By how many degrees colours turn about the grey axis, at most. A grey image stays grey.
    """

    def __init__(
        self,
        brightness: float = 0.3,
        contrast: float = 0.25,
        balance: float = 0.1,
        saturation: float = 0.3,
        hue: float = 10,
    ) -> None:
        self.amounts = dict(
            brightness=brightness,
            contrast=contrast,
            balance=balance,
            saturation=saturation,
            hue=hue,
        )
        if wrong := [name for name, amount in self.amounts.items() if amount < 0]:
            raise ValueError(f'RandomColour: {", ".join(wrong)} must not be negative.')

    def transform(self, results: dict) -> dict:
        image = results['img']
        bands = image.shape[2] if image.ndim == 3 else 1
        drawn = {name: amount * _even() for name, amount in self.amounts.items()}
        gains = 1 + self.amounts['balance'] * (2 * np.random.rand(bands) - 1)
        x = image.reshape(*image.shape[:2], bands).astype(np.float32)
        mean, spread = x.mean((0, 1)), x.std()
        x = mean + (x - mean) * (gains * (1 + drawn['contrast'])) + drawn['brightness'] * spread
        if bands == 3:
            x = x @ colour_matrix(1 + drawn['saturation'], np.deg2rad(drawn['hue'])).T
        results['img'] = as_type(x, image.dtype).reshape(image.shape)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(f"{k}={v}" for k, v in self.amounts.items())})'


def colour_matrix(saturation: float, angle: float) -> np.ndarray:
    """(3, 3): turns colours about the grey axis by ``angle`` and multiplies their distances from it
    (Rodrigues' formula)."""
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turned = np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross
    return grey + saturation * turned


def as_type(x: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Numbers as another type; whole ones rounded, within its limits."""
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        x = np.rint(x).clip(limits.min, limits.max)
    return x.astype(kind)


def _even() -> float:
    return 2 * np.random.rand() - 1
