"""Which encoders there are to start with, and where their weights come from."""

from dataclasses import dataclass
from pathlib import Path

from ..apis.settings.encoder import ENCODERS
from ..models.backbones.sam_vit import PUBLISHED
from ..safe_load import is_at_hand

SMALL = 'small'
USED_TO_SMALL, USED_TO = 256, 512
"""The smallest images to give to the small encoder, and to SAM's, which is made for 1024."""


@dataclass(frozen=True)
class Encoder:
    """What is to be tuned.

    Attributes:
        name: as the ``encoder`` setting takes it.
        words: what it is.
        least: the smallest image size to give to it.
        checkpoint: its weights, where a user names them.
        advice: how to get the weights, if that is left to do.
    """

    name: str
    words: str
    least: int
    checkpoint: Path | None
    advice: str | None


def find_encoder(name: str, checkpoint: Path | None = None) -> Encoder:
    """
    Args:
        checkpoint: a file or folder of its weights, in place of the usual ones.

    Raises:
        ValueError: no such encoder; no such file.
    """
    if name not in ENCODERS:
        raise ValueError(f'--encoder {name}: expected one of {", ".join(ENCODERS)}.')
    if checkpoint and not checkpoint.exists():
        raise ValueError(f'--checkpoint {checkpoint}: there is no such file or folder.')
    if name == SMALL:
        words = 'the small model of the package, to try things out; not SAM, and much weaker'
        return Encoder(name, words, USED_TO_SMALL, checkpoint, None)
    words = f'SAM ViT-{name[-1].upper()}'
    address = PUBLISHED[ENCODERS[name]['arch']]
    if checkpoint or is_at_hand(address):
        return Encoder(name, words, USED_TO, checkpoint, None)
    file = address.rpartition('/')[2]
    advice = (
        f"SAM's weights, {file}, come from {address} when the training starts. Without a network "
        f'here: fetch the file elsewhere and give --checkpoint {file}; or try things out with '
        f'--encoder {SMALL}'
    )
    return Encoder(name, words, USED_TO, None, advice)
