"""Decoder-only fine-tuning: the encoder as it is."""

from ..registry import PEFT
from .base import PEFTMethod


@PEFT.register_module()
class Frozen(PEFTMethod):
    """Trains nothing of the host: of an encoder, so that only the decode head learns. Merging is
    trivial."""

    merges = 'fully'
