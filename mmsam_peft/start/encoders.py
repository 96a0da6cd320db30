"""Which encoders there are to start with, and where their weights come from."""

from dataclasses import dataclass
from pathlib import Path

from ..apis.settings import SETTINGS
from ..models.backbones.variants import VARIANTS, Variant
from ..safe_load import is_at_hand

SMALL = 'small'
"""What needs no weights from elsewhere."""


@dataclass(frozen=True)
class Encoder:
    """What is to be tuned.

    Attributes:
        name: as the ``encoder`` setting takes it.
        variant: what it is, and what images it is made for.
        checkpoint: its weights, where a user names them.
        advice: how to get the weights, if that is left to do.
    """

    name: str
    variant: Variant
    checkpoint: Path | None
    advice: str | None


def find_encoder(name: str, checkpoint: Path | None = None) -> Encoder:
    """
    Args:
        checkpoint: a file or folder of its weights, in place of the usual ones.

    Raises:
        ValueError: no such encoder; no such file.
    """
    try:
        variant = VARIANTS[SETTINGS['encoder'].read(name)]
    except ValueError as error:
        raise ValueError(f'--encoder {name}: {error}') from None
    if checkpoint and not checkpoint.exists():
        raise ValueError(f'--checkpoint {checkpoint}: there is no such file or folder.')
    there = checkpoint or variant.address and is_at_hand(variant.address)
    advice = None if there else _advice(name)
    return Encoder(name, variant, checkpoint, advice)


def _advice(name: str) -> str:
    variant = VARIANTS[name]
    without = f'or try things out with --encoder {SMALL}'
    if variant.gated or variant.address is None:
        place = variant.page or 'their authors (docs/encoders.md)'
        return (
            f'The weights are given only to those who ask for them ({variant.licence}): get them '
            f'from {place} and give --checkpoint FILE; {without}'
        )
    file = variant.address.rpartition('/')[2]
    return (
        f'{file} comes from {variant.page} when the training starts. Without a network here: fetch '
        f'it elsewhere and give --checkpoint {file}; {without}'
    )
