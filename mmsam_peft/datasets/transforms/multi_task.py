"""Images with the labels of several tasks, and what geometry does to them.

Samples hold ``labels``, {task's name: (H, W, c)}, and ``valid``, {task's name: (H, W) bool}; they
may lack tasks. ``tasks`` holds the tasks themselves. Pixels that are not valid are zero in labels
of continuous values, so that no NaN gets anywhere.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, to_tensor
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs

from ...registry import TRANSFORMS
from ...tasks import Task
from ...tasks.normals import SurfaceNormals
from .resize import resize_image, resize_labels


def resized(
    task: Task, label: np.ndarray, valid: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A label (h, w, c) and its valid pixels (h, w) at ``size`` (H, W); pixels are areas, not
    corners.

    Class numbers come from the nearest pixel. Continuous values are the bilinear mean of the valid
    ones among the four pixels around, normals of unit length again; a pixel without any is not
    valid, and zero.
    """
    if valid.shape == tuple(size):
        return label, valid
    if task.interpolation == 'nearest':
        return resize_labels(label, size), resize_labels(valid, size)
    weight = cv2.resize(valid.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    total = cv2.resize(
        label * valid[..., None], size[::-1], interpolation=cv2.INTER_LINEAR
    ).reshape(*size, -1)
    valid = weight > 1e-6
    mean = total / np.where(valid, weight, 1)[..., None]
    if isinstance(task, SurfaceNormals):
        length = np.linalg.norm(mean, axis=-1)
        valid &= length > 1e-6
        mean /= np.where(valid, length, 1)[..., None]
    return mean, valid


def _map_labels(results: dict, change) -> None:
    """``change(task, label, valid)`` of each label that the sample has."""
    for task in results.get('tasks', ()):
        if task.name in results.get('labels', ()):
            label, valid = change(task, results['labels'][task.name], results['valid'][task.name])
            results['labels'][task.name], results['valid'][task.name] = label, valid


@TRANSFORMS.register_module()
class MultiTaskFlip(BaseTransform):
    """Mirrors image and labels left-right with probability ``prob``; ``task.flip`` says what
    becomes of the values."""

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        results['flip'] = bool(np.random.rand() < self.prob)
        results['flip_direction'] = 'horizontal' if results['flip'] else None
        if results['flip']:
            results['img'] = np.ascontiguousarray(results['img'][:, ::-1])
            _map_labels(
                results,
                lambda task, label, valid: (
                    np.ascontiguousarray(task.flip(label[:, ::-1])),
                    np.ascontiguousarray(valid[:, ::-1]),
                ),
            )
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


@TRANSFORMS.register_module()
class MultiTaskZoomCrop(BaseTransform):
    """Cuts a random part of 1 / scale of the image's sides and enlarges it to the size before.

    Equal to a lens of ``scale`` times the focal length, or to things that are nearer: ``task.zoom``
    divides depth by the scale.

    Args:
        scales: one is drawn for each image; all at least 1.
    """

    def __init__(self, scales: Sequence[float] = (1, 1.2, 1.5)) -> None:
        if not scales or min(scales) < 1:
            raise ValueError(f'got scales={scales}, expected numbers from 1 on')
        self.scales = scales

    def transform(self, results: dict) -> dict:
        size = results['img'].shape[:2]
        scale = self.scales[np.random.randint(len(self.scales))]
        height, width = (round(side / scale) for side in size)
        top, left = np.random.randint(size[0] - height + 1), np.random.randint(size[1] - width + 1)
        part = np.s_[top : top + height, left : left + width]
        magnified = np.sqrt(
            size[0] / height * size[1] / width
        )  # ``scale``, but for the rounding to whole pixels

        def zoom(task: Task, label: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            label, valid = resized(task, label[part], valid[part], size)
            return task.zoom(label, magnified), valid

        if scale > 1:
            results['img'] = cv2.resize(
                results['img'][part], size[::-1], interpolation=cv2.INTER_LINEAR
            )
            _map_labels(results, zoom)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(scales={self.scales})'


@TRANSFORMS.register_module()
class MultiTaskResize(BaseTransform):
    """Resizes the image, bilinearly (see ``resize_image``), so that its long side has ``size``
    pixels. Labels stay as they are.

    Losses and metrics are computed at the size of the labels.

    Args:
        size: pixels of the long side.
        labels: resize the labels too, see :func:`resized`.
        antialias: False is OpenCV's resizing, as of models that were trained with it.
    """

    def __init__(self, size: int, labels: bool = False, antialias: bool = True) -> None:
        self.size, self.labels, self.antialias = size, labels, antialias

    def transform(self, results: dict) -> dict:
        height, width = results['img'].shape[:2]
        size = tuple(
            max(1, round(side * self.size / max(height, width))) for side in (height, width)
        )
        results['img'] = resize_image(results['img'], size, 'bilinear', self.antialias)
        results['img_shape'], results['scale_factor'] = size, (size[1] / width, size[0] / height)
        results['keep_ratio'] = True
        if self.labels:
            _map_labels(results, lambda task, label, valid: resized(task, label, valid, size))
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, labels={self.labels}, '
            f'antialias={self.antialias})'
        )


@TRANSFORMS.register_module()
class PackMultiTaskInputs(PackSegInputs):
    """``PackSegInputs`` with ``gt_NAME`` of each task in the sample: ``data`` (c, H, W) and
    ``valid`` (1, H, W) bool."""

    def transform(self, results: dict) -> dict:
        packed = super().transform(results)
        for name, label in results.get('labels', {}).items():
            data = to_tensor(np.ascontiguousarray(label.transpose(2, 0, 1)))
            valid = torch.from_numpy(np.ascontiguousarray(results['valid'][name][None]))
            packed['data_samples'].set_field(PixelData(data=data, valid=valid), f'gt_{name}')
        return packed
