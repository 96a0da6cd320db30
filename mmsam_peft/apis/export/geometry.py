"""What a model's test pipeline makes of an image before the network sees it, in a form that needs
no pipeline."""

from dataclasses import asdict, dataclass

from torch import nn

from ...datasets.transforms.resize import FILTERS
from ..pipelines import type_name

PASSED = (
    'LoadImageFromFile',
    'LoadImageOrArray',
    'LoadAnnotations',
    'LoadMask',
    'LoadMultiTaskLabels',
    'PackSegInputs',
    'PackMultiTaskInputs',
)
"""Steps that change no pixels of an image in memory."""
RESIZES = ('Resize', 'MultiTaskResize')
OUTSIDE = (
    'Export with --preprocessing outside --resize outside, and do in your program what it does.'
)


@dataclass(frozen=True)
class Geometry:
    """
    Attributes:
        size: (H, W) of the network's input.
        long_sides: (long, short) sides that an image is shrunk or enlarged to fit into, its sides
            in proportion, before it is padded at the bottom and right; None: it is stretched.
        rounding: How sides in proportion become whole numbers: 'half_up', as MMCV's, or
            'half_even', as Python's.
        interpolation: 'bicubic', ...; antialiased.
        windows: The network sees windows of an image in turn, of ``size`` each.
        unfit: Why images of any size cannot be resized to ``size`` and back; None where they can.
    """

    size: tuple[int, int]
    long_sides: tuple[int, int] | None = None
    rounding: str = 'half_up'
    interpolation: str = 'bicubic'
    windows: bool = False
    unfit: str | None = None

    def described(self) -> dict:
        names = ('size', 'long_sides', 'rounding', 'interpolation', 'windows')
        return {key: value for key, value in asdict(self).items() if key in names}


def geometry_of(model: nn.Module) -> Geometry:
    """Reads it from the model's config. ValueError where nothing says the network's size."""
    test = model.test_cfg or {}
    if test.get('mode') == 'slide':
        size = tuple(test['crop_size'])
        return Geometry(
            size,
            windows=True,
            unfit=f'the model slides windows of {size[0]} x {size[1]} pixels over an image, and '
            'what is exported is the network that sees one window. Cut the windows, and average '
            'the logits where they overlap, in your program (--resize outside)',
        )
    steps = [step for step in model.cfg.test_pipeline if type_name(step) in RESIZES]
    padded = (getattr(model.data_preprocessor, 'test_cfg', None) or {}).get('size')
    if len(steps) != 1:
        return Geometry(_fallback(model, padded), unfit=_unfit(f'has {len(steps)} that resize'))
    return _of_step(model, steps[0], tuple(padded) if padded else None)


def _of_step(model: nn.Module, step: dict, padded: tuple[int, int] | None) -> Geometry:
    size, long_sides, rounding = padded, None, 'half_up'
    if type_name(step) == 'MultiTaskResize':
        long_sides, rounding, how = (step['size'],) * 2, 'half_even', 'bilinear'
    else:
        scale, how = step.get('scale'), step.get('interpolation', 'bilinear')
        if scale is None:
            return Geometry(_fallback(model, padded), unfit=_unfit('resizes by a factor'))
        scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
        if step.get('keep_ratio'):
            long_sides = max(scale), min(scale)
        else:
            size = padded or scale[::-1]
    divisor = (getattr(model.data_preprocessor, 'test_cfg', None) or {}).get('size_divisor') or 1
    unfit = None
    if getattr(model, 'align_corners', False):
        unfit = 'is followed by resizing with align_corners=True'
    elif size and not padded and any(side % divisor for side in size):
        unfit = f'is followed by padding to multiples of {divisor}'
    if size is None:
        size = _fallback(model, padded)
        unfit = 'keeps the proportions of an image, and nothing pads it to one size'
    elif (
        unfit is None
        and long_sides
        and long_sides[0] > min(size)
        or not long_sides
        and size != scale[::-1]
    ):
        unfit = f'makes images that are not of the size {size} to which they are padded'
    elif not step.get('antialias', True):
        unfit = 'resizes as OpenCV does, without antialiasing, as earlier versions did'
    elif how not in FILTERS or how == 'nearest':
        unfit = f'resizes by interpolation={how!r}'
    return Geometry(size, long_sides, rounding, how, unfit=unfit and _unfit(unfit))


def _unfit(what: str) -> str:
    return f"the model's test pipeline {what}, for which an exported file has no place. {OUTSIDE}"


def _fallback(model: nn.Module, padded: tuple[int, int] | None) -> tuple[int, int]:
    size = padded or getattr(model.data_preprocessor, 'size', None)
    size = size or getattr(model.backbone, 'img_size', None)
    if size is None:
        raise ValueError(
            "Nothing in the config says the size of the network's input, which an exported file "
            'has to know: set model.data_preprocessor.size=(height, width).'
        )
    return tuple(size)


def require_plain_images(model: nn.Module) -> None:
    """Raises ValueError where the network sees of an image something that normalisation of red,
    green and blue does not make."""
    first, *_ = steps = list(model.cfg.test_pipeline)
    if first.get('pixels') or getattr(model.backbone, 'in_channels', 3) != 3:
        raise ValueError(
            f'The model sees of image files what pixels={first.get("pixels")} makes of them, not '
            '8-bit RGB: export it with --preprocessing outside.'
        )
    if unknown := [type_name(step) for step in steps if type_name(step) not in PASSED + RESIZES]:
        raise ValueError(
            f"The model's test pipeline has the step {unknown[0]}, for which an exported file has "
            f'no place. {OUTSIDE}'
        )
