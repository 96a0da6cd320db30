"""Images that are in memory already."""

import numpy as np

from ...registry import TRANSFORMS
from ..pixels import Pixels
from ..pixels.stored import Header, Stored, require_picture_array
from .loading import LoadImageOrArray


@TRANSFORMS.register_module()
class LoadImageFromNDArray(LoadImageOrArray):
    """Takes the array ``img`` as reading a file would have given it: BGR, (H, W, 3), values 0 to
    255.

    Grey arrays, (H, W) or (H, W, 1), get three equal channels. Alpha, (H, W, 4), is dropped if it
    hides nothing. With ``pixels`` the array has the values that are in the files, (H, W, bands), in
    the files' order of bands; three without ``pixels.bands`` are BGR, as OpenCV reads them. Where
    there is no array, the file ``img_path`` is read: MMSegmentation's ``inference_model`` writes
    this type into the model's config when it is given an array, and leaves it there for the paths
    that follow.

    Raises:
        ValueError: The array cannot be such an image.
    """

    def transform(self, results: dict) -> dict | None:
        if 'img' not in results:
            return super().transform(results)
        array, pixels = results['img'], self.pixels
        image = as_file_gives_it(array, pixels) if pixels.setting() else as_bgr(array)
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_path'] = None
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


def as_file_gives_it(image: np.ndarray, pixels: Pixels) -> np.ndarray:
    """What reading a file with these values would have given. ValueError as for such a file."""
    require_picture_array(image.shape, image.dtype)
    image = image.reshape(*image.shape[:2], -1)
    if pixels.bands is None and pixels.chosen in (None, 3) and image.shape[2] in (3, 4):
        image = image[..., [2, 1, 0, *range(3, image.shape[2])]]
    alpha = pixels.chosen is None and image.shape[2] == 4
    image = image.astype(image.dtype.newbyteorder('='), copy=False)
    header = Header(image.shape[:2], image.shape[2], image.dtype.name, alpha, None)
    return pixels.picture(Stored(header, image))


def as_bgr(image: np.ndarray) -> np.ndarray:
    """(H, W, 3), uint8, or float32 where values are fractions of steps; a copy, which may be
    written to.

    Raises:
        ValueError: Another shape; values that are not numbers from 0 to 255, or that go from 0 to
            1; transparent pixels.
    """
    shape = ' x '.join(map(str, image.shape))
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
        raise ValueError(
            f'got an array of {shape}, expected an image of height x width x 3 (BGR, as '
            'OpenCV reads it), or grey, or with alpha: move or choose the channels.'
        )
    if image.dtype != np.uint8:
        image = _within_a_byte(image)
    if image.shape[2] == 4 and (image[..., 3] < 255).any():
        raise ValueError(
            'got transparent pixels, whose colour is not what one sees, expected none: '
            'lay the image over the background that belongs there.'
        )
    image = image[..., :3]
    return np.array(np.broadcast_to(image, (*image.shape[:2], 3)), order='C')


def _within_a_byte(image: np.ndarray) -> np.ndarray:
    if image.dtype.kind not in 'iuf' or not np.isfinite(image).all():
        raise ValueError(
            f'got an array of {image.dtype} that holds other things than finite '
            'numbers, expected values from 0 to 255: convert it to uint8.'
        )
    low, high = image.min(), image.max()
    if low < 0 or high > 255 or 0 < high <= 1:
        do = 'multiply it by 255' if 0 <= low and high <= 1 else 'scale it to the range of a byte'
        raise ValueError(
            f'got an array of {image.dtype} from {low:g} to {high:g}, expected values '
            f'from 0 to 255: {do}, as the training images are.'
        )
    return image.astype(np.float32 if image.dtype.kind == 'f' else np.uint8)
