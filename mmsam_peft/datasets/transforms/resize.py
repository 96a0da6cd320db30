"""Images and masks at another size."""

import cv2
import mmcv.transforms
import numpy as np
import torch
from mmcv.image.geometric import cv2_interp_codes, rescale_size
from mmcv.transforms import BaseTransform
from PIL import Image
from torch.nn.functional import interpolate

from ...registry import TRANSFORMS

FILTERS = dict(
    nearest=Image.Resampling.NEAREST,
    area=Image.Resampling.BOX,
    bilinear=Image.Resampling.BILINEAR,
    bicubic=Image.Resampling.BICUBIC,
    lanczos=Image.Resampling.LANCZOS,
)
LARGE = 1_000_000
"""Pixels from which images of 8 bits are resized by PyTorch."""
MASKS = ('gt_seg_map', 'gt_instance_map')
"""What is resized as labels are."""


def resize_image(
    image: np.ndarray, size: tuple[int, int], interpolation: str, antialias: bool = True
) -> np.ndarray:
    """An image (h, w) or (h, w, c) at ``size`` (H, W); uint8 stays uint8, other types become
    float32.

    Antialiased, a pixel of a smaller image is a mean over all pixels that it covers, by Pillow's
    filters; bicubic is that of a = -0.5. Else OpenCV looks at the 2 or 4 nearest pixels an axis, so
    that finer structures appear or vanish by chance; its bicubic has a = -0.75.

    Large images of 8 bits are resized by PyTorch, whose filters are Pillow's, several times as fast
    where the processor has AVX2. Of a thousand values about four then differ, by 1.
    """
    size = tuple(map(int, size))
    if image.shape[:2] == size:
        return image
    if image.dtype != np.uint8:
        image = image.astype(np.float32, copy=False)
    if not antialias:
        how = cv2_interp_codes[interpolation]
        made = cv2.resize(image, size[::-1], interpolation=how)
        return made.reshape(*size, *image.shape[2:])  # OpenCV drops an axis of one channel
    how = FILTERS[interpolation]
    if _suits_torch(image, interpolation):
        return _by_torch(image, size, interpolation)
    if image.ndim == 2 or image.dtype == np.uint8 and image.shape[2] == 3:
        return np.array(Image.fromarray(image).resize(size[::-1], how))
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(image, 2, 0)]
    return np.stack([np.asarray(band.resize(size[::-1], how)) for band in bands], axis=2)


def _suits_torch(image: np.ndarray, interpolation: str) -> bool:
    return (
        interpolation in ('bilinear', 'bicubic')
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.shape[0] * image.shape[1] >= LARGE
    )


def _by_torch(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    (bands,) = interpolate(x, size, mode=interpolation, antialias=True).numpy()
    return cv2.merge(list(bands))


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels (h, w, ...) at ``size`` (H, W): those of the pixels under the centres of the new
    ones."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size, labels.shape[:2], strict=True)
    )
    return labels[rows][:, columns]


@TRANSFORMS.register_module()
class Resize(mmcv.transforms.Resize):
    """MMCV's, by the same name, but nothing is lost where an image shrinks: see ``resize_image``
    and ``resize_labels``.

    MMCV's takes masks from the upper left corner of each new pixel, not from its centre, as it
    takes images.

    Args:
        args, kwargs: MMCV's.
        antialias: False is MMCV's resizing, as of models that were trained with it.
    """

    def __init__(self, *args, antialias: bool = True, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.antialias = antialias

    def _resize_img(self, results: dict) -> None:
        if not self.antialias:
            return super()._resize_img(results)
        image = results.get('img')
        if image is None:
            return None
        height, width = image.shape[:2]
        size = self._size(image.shape[:2], results['scale'])
        results['img'] = resize_image(image, size, self.interpolation)
        results['img_shape'], results['keep_ratio'] = size, self.keep_ratio
        results['scale_factor'] = size[1] / width, size[0] / height
        return None

    def _resize_seg(self, results: dict) -> None:
        if not self.antialias:
            return super()._resize_seg(results)
        for name in MASKS:
            if (mask := results.get(name)) is not None:
                results[name] = resize_labels(mask, self._size(mask.shape[:2], results['scale']))
        return None

    def _size(self, shape: tuple[int, int], scale: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of (h, w); ``scale`` is (width, height)."""
        made = rescale_size(shape[::-1], scale) if self.keep_ratio else scale
        return tuple(made[::-1])

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, antialias={self.antialias})'


@TRANSFORMS.register_module()
class ScoreAt(BaseTransform):
    """Scores a sample at ``size``, not at the size of its mask: the mask is resized (see
    ``resize_labels``), and the model's logits become as large, whatever metric reads them.

    For comparing with numbers of programs that do so; belongs after ``LoadMask`` in the pipelines
    of validation and test, not into that of prediction.

    Args:
        size: (height, width).
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = tuple(size)

    def transform(self, results: dict) -> dict:
        for name in MASKS:
            if name in results:
                results[name] = resize_labels(results[name], self.size)
        results['ori_shape'] = self.size
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size})'
