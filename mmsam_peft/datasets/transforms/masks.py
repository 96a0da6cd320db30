"""Reading masks: from the values stored in a file to class numbers."""

from collections.abc import Mapping, Sequence

import cv2
import mmengine.fileio as fileio
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from ...registry import TRANSFORMS
from ..checks.problems import reason
from ..image_files import LOSSY, bits_per_value, open_image, upright

MASK_VALUES = ('index', 'binary01', 'binary255')
MaskValues = str | Sequence[Sequence[int]] | Sequence[int] | Mapping

COLOUR = 48
"""By how much the channels of a pixel differ that is not grey, JPEG's noise allowed for."""
DARK = 128
"""Grey values below are not the object of a mask of 0 and 255."""
DO = (
    "export black and white masks, or set mask_values to 'index' where all hold class numbers, to "
    "'binary01' where in all "
    'anything but 0 is the object'
)


def mask_to_classes(image: Image.Image, values: MaskValues = 'index') -> np.ndarray:
    """Class numbers (H, W), uint8, of a stored mask, upright as its EXIF data says.

    Args:
        image: the mask as PIL opens it.
        values: what the pixels mean.
            ``'index'``: the class number itself (of a palette image the index, not the colour);
            ``'binary01'``: anything but 0 is class 1;
            ``'binary255'``: grey values from 128 are class 1, which tolerates JPEG noise;
            a list of RGB colours: the i-th colour is class i;
            a list of numbers: pixels whose channels' mean is the i-th are class i;
            ``dict(colours=[...], tolerance=40)``: the same for JPEG and soft edges: a pixel is of
            the nearest colour if each channel differs by at most ``tolerance``, else ignored (255).
            Where a binary mask has transparent pixels and one colour, those that show it are class
            1.

    Raises:
        ValueError: for values that cannot be class numbers, a colour that is not in the list, and
            files that mean something else, or can mean two things.
    """
    tolerant = isinstance(values, Mapping)
    if image.format in LOSSY and values != 'binary255' and not tolerant:
        raise ValueError(
            f'got a {image.format}, whose compression changes values, expected a PNG: export the '
            'masks again, or, '
            "if they are black and white, set mask_values='binary255'"
        )
    bits = bits_per_value(image)
    if bits > 8 and len(image.getbands()) > 1:
        raise ValueError(
            f'got colours of {bits} bits, expected at most 8: export the masks with 8 bits'
        )
    image = upright(image)
    if values == 'index':
        return _indices(image, bits)
    if tolerant:
        return _nearest_colours(_colours(image), **values)
    if not isinstance(values, str):
        return _match_colours(_colours(image), np.asarray(values))
    if not _is_opaque(image):
        return _visible(np.asarray(image.convert('RGBA')))
    return _from_zero(image) if values == 'binary01' else _from_half(image)


def require_known_levels(levels: np.ndarray, least: int = 1, do: str = DO) -> None:
    """Raises ValueError when the values of a binary mask look like another encoding.

    Args:
        levels: whole numbers from 0 on.
        least: the smallest value that stands for the object.
        do: what the error advises.
    """
    if levels.dtype == np.uint8 and not ((levels > 0) & (levels < 255)).any():
        return  # as nearly all are: counting takes ten times as long
    found = (
        np.flatnonzero(np.bincount(levels.ravel(), minlength=256))
        if levels.dtype == np.uint8
        else np.unique(levels)
    )
    if set(found.tolist()) in ({0, 1, 255}, {1, 255}):
        raise ValueError(
            'got the values 0, 1 and 255, as of class numbers with 255 for ignored pixels, '
            'expected two values: '
            f'{do}'
        )
    if 0 < found[-1] < least and len(found) <= 2:
        values = ' and '.join(map(str, found))
        raise ValueError(
            f'got only the values {values}, expected 0 and 255, as in all masks of the set: {do}'
        )


def _indices(image: Image.Image, bits: int) -> np.ndarray:
    if image.mode not in ('1', 'L', 'P', 'RGB', 'LA', 'PA', 'RGBA') and len(image.getbands()) > 1:
        raise ValueError(
            f'got bands {", ".join(image.getbands())}, expected class numbers: export the masks as '
            '8-bit PNG'
        )
    pixels = np.asarray(image)
    if image.mode in ('LA', 'PA', 'RGBA'):
        if hidden := int((pixels[..., -1] < 255).sum()):
            raise ValueError(
                f'got {hidden} transparent pixels, which have no class number, expected none: save '
                'the masks '
                'without transparency (alpha)'
            )
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise ValueError(
                'got colours, expected class numbers: set mask_values to the list of RGB colours'
            )
        pixels = pixels[..., 0]
    if bits in (2, 4) and image.mode == 'L':
        pixels = pixels // (255 // (2**bits - 1))  # Pillow stretches them to 0 .. 255
    pixels = _whole(pixels)
    if pixels.max() > 255:
        raise ValueError(
            f'got values {pixels.min()} .. {pixels.max()}, expected class numbers from 0 to 255'
        )
    return pixels.astype(np.uint8)


def _whole(pixels: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 on, which pixels of any type must be."""
    if pixels.dtype.kind == 'f':
        if not (np.isfinite(pixels) & (pixels == np.rint(pixels))).all():
            raise ValueError(
                'got fractions or NaN, expected whole numbers: export the masks as 8-bit PNG'
            )
        pixels = pixels.astype(np.int64)
    if pixels.min() < 0:
        raise ValueError(f'got values from {pixels.min()}, expected none below 0')
    return pixels


def _from_zero(image: Image.Image) -> np.ndarray:
    if len(image.getbands()) == 1 and image.mode not in ('1', 'P'):
        levels = _whole(np.asarray(image))
        require_known_levels(levels)
        return (levels > 0).astype(np.uint8)
    levels = _colours(image).max(-1)
    require_known_levels(levels)
    coloured = levels > 0
    if image.mode == 'P' and (coloured != (np.asarray(image) > 0)).any():
        raise ValueError(
            'got a palette in which 0 is not black, or another entry is, expected black for 0 '
            'alone: set '
            "mask_values='index' for the numbers, or the list of RGB colours"
        )
    return coloured.astype(np.uint8)


def _from_half(image: Image.Image) -> np.ndarray:
    if len(image.getbands()) > 1 or image.mode == 'P':
        colours = _colours(image)
        if (colours.max(-1).astype(int) - colours.min(-1) > COLOUR).any():
            raise ValueError(
                'got colours, expected black and white: set mask_values to the list of RGB '
                "colours, or to 'index' "
                'for the numbers of a palette'
            )
    one_band = len(image.getbands()) == 1 and image.mode not in ('1', 'P')
    levels = _whole(np.asarray(image if one_band else image.convert('L')))
    require_known_levels(levels, DARK)
    return (levels >= DARK).astype(np.uint8)


def _visible(rgba: np.ndarray) -> np.ndarray:
    """1 where a mask (H, W, 4) of one colour shows it: the colour of a transparent pixel is
    none."""
    seen = rgba[..., 3] >= 128
    shown = rgba[seen][:, :3]
    if len(shown) and ((shown != shown[0]).any() or shown[0].max() < DARK):
        raise ValueError(
            'got transparent pixels beside black or several colours, which can mean two things, '
            'expected none: '
            'save the masks black and white, without transparency (alpha)'
        )
    return seen.astype(np.uint8)


def _is_opaque(image: Image.Image) -> bool:
    return (
        not image.has_transparency_data
        or image.convert('RGBA').getchannel('A').getextrema()[0] == 255
    )


def _colours(image: Image.Image) -> np.ndarray:
    """RGB (H, W, 3)."""
    if image.mode.startswith(('I', 'F')):
        raise ValueError(f'got values of more than 8 bits ({image.mode}), expected colours')
    if not _is_opaque(image):
        raise ValueError(
            'got transparent pixels, which have no colour, expected none: save the masks without '
            'transparency '
            '(alpha), over the colour of a class'
        )
    return np.asarray(image.convert('RGB'))


def _match_colours(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W, 3) pixels and (K, 3) colours, or (K,) means of the channels -> (H, W)."""
    if colours.ndim == 1:
        codes, wanted = pixels.sum(-1, dtype=int), 3 * colours
    else:
        to_code = np.array([1 << 16, 1 << 8, 1])
        codes, wanted = pixels @ to_code, colours @ to_code
    unlisted = ~np.isin(codes, wanted)
    if unlisted.any():
        examples = ', '.join(map(str, np.unique(pixels[unlisted], axis=0)[:5].tolist()))
        raise ValueError(
            f'got {unlisted.sum()} pixels of colours such as {examples}, expected only the '
            f'{len(colours)} colours of mask_values'
        )
    order = np.argsort(wanted)
    return order[np.searchsorted(wanted, codes, sorter=order)].astype(np.uint8)


def _nearest_colours(
    pixels: np.ndarray, colours: Sequence[Sequence[int]], tolerance: int
) -> np.ndarray:
    """(H, W, 3) pixels and (K, 3) colours -> (H, W); 255 where no colour is within the
    tolerance."""
    nearest = np.full(pixels.shape[:2], 255, np.uint8)
    least = np.full(pixels.shape[:2], tolerance, np.int16)
    for number, colour in enumerate(colours):
        distance = np.abs(pixels.astype(np.int16) - np.asarray(colour, np.int16)).max(-1)
        closer = (distance < least) | (distance == least) & (nearest == 255)
        nearest[closer], least[closer] = number, distance[closer]
    return nearest


@TRANSFORMS.register_module()
class LoadMask(BaseTransform):
    """Loads the mask of a sample, as its data set's ``mask_values`` says (see
    :func:`mask_to_classes`; default ``'index'``).

    Takes the place of MMSegmentation's ``LoadAnnotations``: honours ``reduce_zero_label`` and
    ``label_map``, and passes on a sample without ``seg_map_path`` (a picture to predict) as it is.

    A sample's ``read_mask(img_path)``, of annotations that are no image files, takes the place of
    all that.

    A sample's ``instance_map_path``, an image of 8 or 16 bits, or ``read_instances(img_path)`` says
    which object a pixel belongs to, 0 for none.

    Required keys: ``seg_map_path``. Added keys, entries of ``seg_fields``: ``gt_seg_map`` (H, W)
    uint8 and, where the sample has objects, ``gt_instance_map`` (H, W) int32.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        path = results.get('seg_map_path')
        if path is None:
            return results
        try:
            mask = self._read(path, results)
        except FileNotFoundError:
            raise
        except Exception as error:  # each of PIL's decoders has its own
            raise ValueError(f'mask {path}: {reason(error)}') from error
        results['gt_seg_map'] = self._relabel(mask, results)
        results.setdefault('seg_fields', []).append('gt_seg_map')
        if (instances := self._instances(results)) is not None:
            if instances.shape != results['gt_seg_map'].shape:
                raise ValueError(
                    f'mask {path}: got {results["gt_seg_map"].shape} pixels, and the map of its '
                    f'objects has {instances.shape}: both are of one image.'
                )
            results['gt_instance_map'] = instances
            results['seg_fields'].append('gt_instance_map')
        return results

    def _instances(self, results: dict) -> np.ndarray | None:
        if read := results.get('read_instances'):
            return read(results['img_path'])
        if (path := results.get('instance_map_path')) is None:
            return None
        try:
            with open_image(fileio.get(path, backend_args=self.backend_args)) as image:
                return _whole(np.asarray(upright(image))).astype(np.int32)
        except FileNotFoundError:
            raise ValueError(
                f'map of objects {path}: there is no such file, expected one for each mask: leave '
                'data_prefix.instance_path out where there are none'
            ) from None
        except Exception as error:  # each of PIL's decoders has its own
            raise ValueError(f'map of objects {path}: {reason(error)}') from error

    def _read(self, path: str, results: dict) -> np.ndarray:
        if read := results.get('read_mask'):
            return read(results['img_path'])
        with open_image(fileio.get(path, backend_args=self.backend_args)) as image:
            return mask_to_classes(image, results.get('mask_values', 'index'))

    @staticmethod
    def _relabel(mask: np.ndarray, results: dict) -> np.ndarray:
        if not results.get('reduce_zero_label') and not results.get('label_map'):
            return mask
        table = np.arange(256, dtype=np.uint8)
        if results.get('reduce_zero_label'):
            table = np.where(table == 255, 255, table - 1).astype(
                np.uint8
            )  # 0 - 1 wraps to 255, ignored
        label_map = results.get('label_map')
        if label_map:
            renamed = np.arange(256, dtype=np.uint8)
            renamed[list(label_map)] = list(label_map.values())
            table = renamed[table]
        return cv2.LUT(mask, table)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
