"""Models, built from configs through ``mmsam_peft.registry.MODELS``."""

from . import data_preprocessor  # noqa: F401
from .backbones import *  # noqa: F403
from .decode_heads import *  # noqa: F403
from .losses import *  # noqa: F403
from .segmentors import *  # noqa: F403
