"""Reading images, and the labels of several tasks."""

from collections.abc import Mapping

import mmcv.transforms
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS
from ...tasks import Task
from ..checks.problems import reason
from ..image_files import read_image
from ..pixels import Pixels


@TRANSFORMS.register_module()
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """MMCV's, by the same name, but images are read as they are seen, or refused: see
    :func:`read_image`.

    MMCV itself makes 16 grey levels of 12 bits in a file of 16, and drops transparency and further
    bands. It still decodes where ``color_type`` is not 'color'.

    Args:
        pixels: Which bands and which range of values become the picture, see :class:`Pixels`; a
            config's own ``pixels`` gets here by itself.

    Raises:
        ValueError: names the file and what to do.
    """

    def __init__(self, *args, pixels: Mapping | Pixels | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.pixels = Pixels.of(pixels)

    def transform(self, results: dict) -> dict | None:
        if self.color_type != 'color' or self.file_client_args:
            return super().transform(results)
        try:
            image = self._read(results['img_path'])
        except Exception:
            if self.ignore_empty:
                return None
            raise
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _read(self, path: str) -> np.ndarray:
        content = fileio.get(path, backend_args=self.backend_args)
        try:
            return read_image(content, self.pixels)
        except Exception as error:  # each of PIL's decoders has its own
            raise ValueError(f'image {path}: {reason(error)}') from error


@TRANSFORMS.register_module()
class LoadImageOrArray(LoadImageFromFile):
    """``LoadImageFromFile`` that, where ``pixels`` says nothing, takes floating-point numbers in
    ``*.npy``, RGB (H, W, 3), as going from 0 to 1."""

    def transform(self, results: dict) -> dict | None:
        path = results['img_path']
        if not path.endswith('.npy') or self.pixels.setting():
            return super().transform(results)
        image = np.load(path, allow_pickle=False)
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'image {path}: got an array of {" x ".join(map(str, image.shape))}, expected '
                'height x width x 3'
            )
        if image.dtype != np.uint8:
            if not (image.min() >= -1e-3 and image.max() <= 1 + 1e-3):
                raise ValueError(
                    f'image {path}: got values from {image.min()} to {image.max()}, expected 0 to 1'
                )
            image = (255 * image).astype(np.float32)
        results['img'] = np.ascontiguousarray(image[..., ::-1])  # BGR, as images are
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadMultiTaskLabels(BaseTransform):
    """Loads the labels of a sample's tasks, as its data set reads them; a picture to predict passes
    as it is.

    Continuous values that are not valid, NaN among them, become zero.

    Required keys: ``tasks``, ``label_paths`` {task's name: path}, ``read_label``, ``ori_shape``.
    Added keys: ``labels``, ``valid``.

    Raises:
        ValueError: for a label that cannot be read, is of another size than the image, or has
            values its task does not have.
    """

    def transform(self, results: dict) -> dict:
        results.update(labels={}, valid={})
        for task in results.get('tasks', ()):
            path = results['label_paths'].get(task.name)
            label = None if path is None else self._load(results, task, path)
            if label is not None:
                valid = task.valid(label)
                if task.interpolation == 'bilinear':
                    label = np.where(valid[..., None], label, 0)
                results['labels'][task.name], results['valid'][task.name] = label, valid
        return results

    @staticmethod
    def _load(results: dict, task: Task, path: str) -> np.ndarray | None:
        try:
            label = results['read_label'](task, path)
            if label is not None:
                task.check(label)
        except Exception as error:  # each decoder has its own
            raise ValueError(f"label {path} of the task '{task.name}': {reason(error)}") from error
        if label is not None and label.shape[:2] != tuple(results['ori_shape']):
            (h, w), (height, width) = label.shape[:2], results['ori_shape']
            raise ValueError(
                f"label {path} of the task '{task.name}': got {w} x {h} pixels, expected {width} x "
                f'{height} as in '
                f'{results["img_path"]}: export the label at that size'
            )
        return label
