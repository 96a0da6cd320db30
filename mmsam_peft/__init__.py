"""Parameter-efficient fine-tuning of Segment Anything on OpenMMLab."""

from . import compat
from .version import __version__

compat.defer_optimizers()
compat.check_stack()
compat.name_packages()
compat.import_segment_anything()

from . import safe_load, whole_files  # noqa: E402  (need the checked stack)
from .adapters.file import as_checkpoint  # noqa: E402

safe_load.register(as_checkpoint)
whole_files.register()

__all__ = ['__version__']
