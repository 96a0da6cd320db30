"""Reading masks: from the values stored in a file to class numbers."""
import io
from collections.abc import Sequence

import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from ...registry import TRANSFORMS

MASK_VALUES = ('index', 'binary01', 'binary255')
MaskValues = str | Sequence[Sequence[int]]


def mask_to_classes(image: Image.Image, values: MaskValues = 'index') -> np.ndarray:
    """Class numbers (H, W), uint8, of a stored mask.

    Args:
        image: the mask as PIL opens it.
        values: what the pixels mean.
            ``'index'``: the class number itself (of a palette image the index, not the colour);
            ``'binary01'``: any grey value but 0 is class 1;
            ``'binary255'``: grey values from 128 are class 1, which tolerates JPEG noise;
            a list of RGB colours: the i-th colour is class i.

    Raises:
        ValueError: for values that cannot be class numbers, or a colour that is not in the list.
    """
    if values == 'index':
        return _indices(np.asarray(image))
    if values == 'binary01':
        return (_grey(image) > 0).astype(np.uint8)
    if values == 'binary255':
        return (_grey(image) >= 128).astype(np.uint8)
    return _match_colours(np.asarray(image.convert('RGB')), np.asarray(values))


def _grey(image: Image.Image) -> np.ndarray:
    has_one_channel = len(image.getbands()) == 1 and image.mode not in ('1', 'P')
    return np.asarray(image if has_one_channel else image.convert('L'))


def _indices(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3:
        if (pixels[..., :3] != pixels[..., :1]).any():
            raise ValueError('got colours, expected class numbers: set mask_values to the list of RGB colours')
        pixels = pixels[..., 0]
    if pixels.min() < 0 or pixels.max() > 255:
        raise ValueError(f'got values {pixels.min()} .. {pixels.max()}, expected class numbers from 0 to 255')
    return pixels.astype(np.uint8)


def _match_colours(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W, 3) pixels and (K, 3) colours -> (H, W)."""
    to_code = np.array([1 << 16, 1 << 8, 1])
    codes, wanted = pixels @ to_code, colours @ to_code
    unlisted = ~np.isin(codes, wanted)
    if unlisted.any():
        examples = ', '.join(map(str, np.unique(pixels[unlisted], axis=0)[:5].tolist()))
        raise ValueError(f'got {unlisted.sum()} pixels of colours such as {examples}, expected only the '
                         f'{len(colours)} colours of mask_values')
    order = np.argsort(wanted)
    return order[np.searchsorted(wanted, codes, sorter=order)].astype(np.uint8)


@TRANSFORMS.register_module()
class LoadMask(BaseTransform):
    """Loads the mask of a sample, as its data set's ``mask_values`` says (see :func:`mask_to_classes`; default ``'index'``).

    Takes the place of MMSegmentation's ``LoadAnnotations``: honours ``reduce_zero_label`` and ``label_map``, and passes on a
    sample without ``seg_map_path`` (a picture to predict) as it is.

    Required keys: ``seg_map_path``. Added keys: ``gt_seg_map`` (H, W) uint8, an entry of ``seg_fields``.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        path = results.get('seg_map_path')
        if path is None:
            return results
        content = fileio.get(path, backend_args=self.backend_args)
        try:
            with Image.open(io.BytesIO(content)) as image:
                mask = mask_to_classes(image, results.get('mask_values', 'index'))
        except Exception as error:  # each of PIL's decoders has its own
            raise ValueError(f'mask {path}: {error}') from error
        results['gt_seg_map'] = self._relabel(mask, results)
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    @staticmethod
    def _relabel(mask: np.ndarray, results: dict) -> np.ndarray:
        table = np.arange(256, dtype=np.uint8)
        if results.get('reduce_zero_label'):
            table = np.where(table == 255, 255, table - 1).astype(np.uint8)  # 0 - 1 wraps to 255, ignored
        label_map = results.get('label_map')
        if label_map:
            renamed = np.arange(256, dtype=np.uint8)
            renamed[list(label_map)] = list(label_map.values())
            table = renamed[table]
        return table[mask]

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
