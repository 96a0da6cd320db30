"""Everything that adapts us to the installed stack: version checks with advice, and three
library work-arounds."""

import importlib
import importlib.metadata as metadata
import importlib.util
import sys

STACK = {  # import name: (maintained distribution, original distribution)
    'mmengine': ('onedl-mmengine', 'mmengine'),
    'mmcv': ('onedl-mmcv', 'mmcv'),
    'mmseg': ('onedl-mmsegmentation', 'mmsegmentation'),
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


def defer_transformers() -> None:
    """Keeps MMEngine from importing Hugging Face's ``transformers``, which takes seconds, for one
    optimizer: ``Adafactor`` imports it when it is built."""
    if 'mmengine.optim' in sys.modules or 'transformers' in sys.modules:
        return
    if importlib.util.find_spec('transformers') is None:
        return
    sys.modules['transformers'] = None  # type: ignore[assignment]  # an import fails at once
    try:
        from mmengine.registry import OPTIMIZERS

        importlib.import_module('mmengine.optim')
    finally:
        del sys.modules['transformers']

    def adafactor(*args, **kwargs):
        return importlib.import_module('transformers').Adafactor(*args, **kwargs)

    if OPTIMIZERS.module_dict.get('Adafactor') is None:
        OPTIMIZERS.register_module('Adafactor', module=adafactor)


def name_packages() -> None:
    """Lets ``_base_ = 'mmseg::...'`` and ``'mmsam_peft::...'`` find the distributions that hold
    those configs."""
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE['mmsam_peft'] = 'mmsam_peft'
    for name, (maintained, _) in STACK.items():
        if name in MODULE2PACKAGE and _version(maintained):
            MODULE2PACKAGE[name] = maintained


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
