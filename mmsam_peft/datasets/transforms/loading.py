"""Reading images, and the labels of several tasks."""
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile

from ...registry import TRANSFORMS
from ...tasks import Task


@TRANSFORMS.register_module()
class LoadImageOrArray(LoadImageFromFile):
    """``LoadImageFromFile`` that also reads ``*.npy``: RGB (H, W, 3) of 8 bit, or of floating-point numbers from 0 to 1."""

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        if not path.endswith('.npy'):
            return super().transform(results)
        image = np.load(path)
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'image {path}: got an array of {" x ".join(map(str, image.shape))}, expected height x width x 3')
        if image.dtype != np.uint8:
            if not (image.min() >= -1e-3 and image.max() <= 1 + 1e-3):
                raise ValueError(f'image {path}: got values from {image.min()} to {image.max()}, expected 0 to 1')
            image = (255 * image).astype(np.float32)
        results['img'] = np.ascontiguousarray(image[..., ::-1])  # BGR, as images are
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadMultiTaskLabels(BaseTransform):
    """Loads the labels of a sample's tasks, as its data set reads them; a picture to predict passes as it is.

    Continuous values that are not valid, NaN among them, become zero.

    Required keys: ``tasks``, ``label_paths`` {task's name: path}, ``read_label``, ``ori_shape``. Added keys: ``labels``,
    ``valid``.

    Raises:
        ValueError: for a label that cannot be read, is of another size than the image, or has values its task does not have.
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
            raise ValueError(f"label {path} of the task '{task.name}': {error}") from error
        if label is not None and label.shape[:2] != tuple(results['ori_shape']):
            (h, w), (height, width) = label.shape[:2], results['ori_shape']
            raise ValueError(f"label {path} of the task '{task.name}': got {w} x {h} pixels, expected {width} x {height} as in "
                             f'{results["img_path"]}: export the label at that size')
        return label
