"""Everything that adapts us to the installed stack: version checks with advice, and three
library work-arounds."""

import functools
import importlib
import importlib.metadata as metadata
import importlib.util
import sys
from collections.abc import Callable

STACK = {  # import name: (maintained distribution, original distribution)
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
}
WITH_BITS = ('AdEMAMix', 'Adagrad', 'Adam', 'AdamW', 'LAMB', 'LARS', 'Lion', 'RMSprop', 'SGD')
WITH_BITS += ('PagedAdEMAMix', 'PagedAdam', 'PagedAdamW', 'PagedLion')
LATE_OPTIMIZERS = {  # package: (where its optimizers are, their names)
    'transformers': ('transformers', ['Adafactor']),
    'bitsandbytes': (
        'bitsandbytes.optim',
        ['PytorchLARS', *(name + bits for name in WITH_BITS for bits in ('', '8bit', '32bit'))],
    ),
}
ADVICE = (
    'In a fresh environment: pip install onedl-mmengine onedl-mmcv onedl-mmsegmentation '
    '(they replace mmengine, mmcv and mmsegmentation under the same import names).'
)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def check_stack() -> None:
    """Raises ImportError, with what is installed and what to install, when mmengine, mmcv and mmseg
    cannot work together."""
    found = {name: [f'{d} {v}' for d in pair if (v := _version(d))] for name, pair in STACK.items()}
    listing = ', '.join(' and '.join(v) or f'no {name}' for name, v in found.items())
    for name, versions in found.items():
        if len(versions) > 1:
            raise ImportError(
                f'mmsam_peft: {" and ".join(versions)} both own the folder {name!r} and have '
                'overwritten each '
                f'other. Uninstall both, then install one of them. {ADVICE}'
            )
    for name in STACK:
        try:
            importlib.import_module(name)
        # mmseg asserts versions, mmcv imports a compiled extension, cv2 links system libraries
        except Exception as error:
            if 'libGL' in str(error) or 'libgthread' in str(error):
                raise ImportError(
                    'mmsam_peft: OpenCV needs system libraries that are missing here: '
                    f'apt-get install libgl1 libglib2.0-0 ({error})'
                ) from error
            raise ImportError(
                f'mmsam_peft: {name} cannot be imported: {error}\nFound {listing}. {ADVICE}'
            ) from error


def defer_optimizers() -> None:
    """Keeps MMEngine from importing ``transformers`` and ``bitsandbytes``, which takes seconds, for
    their optimizers: these are imported when one of them is built."""
    absent = [
        name
        for name in LATE_OPTIMIZERS
        if name not in sys.modules and importlib.util.find_spec(name) is not None
    ]
    if 'mmengine.optim' in sys.modules or not absent:
        return
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # an import fails at once
    try:
        from mmengine.registry import OPTIMIZERS

        importlib.import_module('mmengine.optim')
    finally:
        for name in absent:
            del sys.modules[name]

    for package in absent:
        module, names = LATE_OPTIMIZERS[package]
        for name in names:
            taken = package == 'bitsandbytes' and name in OPTIMIZERS.module_dict
            shown = f'bnb_{name}' if taken else name  # as MMEngine does
            if shown not in OPTIMIZERS.module_dict:
                OPTIMIZERS.register_module(shown, module=_late(module, name))


def _late(module: str, name: str) -> Callable:
    def optimizer(*args, **kwargs):
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return optimizer


def name_packages() -> None:
    """Lets ``_base_ = 'mmseg::...'`` and ``'mmsam_peft::...'`` find the distributions that hold
    those configs. Their lists of configs, fifty YAML files of MMSegmentation's, are read once, not
    for each ``_base_``."""
    from mmengine.config import utils

    utils.MODULE2PACKAGE['mmsam_peft'] = 'mmsam_peft'
    for name, (maintained, _) in STACK.items():
        if name in utils.MODULE2PACKAGE and _version(maintained):
            utils.MODULE2PACKAGE[name] = maintained
    if not hasattr(utils.load, 'cache_info'):
        utils.load = functools.cache(utils.load)


def import_segment_anything() -> None:
    """Makes ``segment_anything.modeling`` importable without torchvision.

    Importing the package runs its ``__init__``, which needs torchvision for the predictor's image
    transforms only. Where torchvision is absent the package's module object is registered without
    running it; its submodules then import as usual.
    """
    if 'segment_anything' in sys.modules or importlib.util.find_spec('torchvision'):
        return
    sys.modules['segment_anything'] = importlib.util.module_from_spec(
        importlib.util.find_spec('segment_anything')
    )
