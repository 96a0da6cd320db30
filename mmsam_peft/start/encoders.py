"""Which encoders there are to start with, and where their weights come from."""

from dataclasses import dataclass
from pathlib import Path

from ..models.backbones.sam_vit import ARCHS, PUBLISHED
from ..safe_load import is_at_hand

SMALL = 'small'
NAMES = (*ARCHS, SMALL)


@dataclass(frozen=True)
class Encoder:
    """``least``: the smallest image size that it is used to; ``lines``: what a config says of it;
    ``advice``: how to get its weights, if that is left to do."""

    name: str
    words: str
    least: int
    recipe: str
    model: dict
    advice: str | None


def find_encoder(name: str, checkpoint: str | None = None) -> Encoder:
    """
    Args:
        checkpoint: a file or folder of its weights, instead of the published ones.

    Raises:
        ValueError: no such encoder; no such file.
    """
    if name not in NAMES:
        raise ValueError(f'--encoder {name}: expected one of {", ".join(NAMES)}.')
    if checkpoint and '://' not in checkpoint and not Path(checkpoint).exists():
        raise ValueError(f'--checkpoint {checkpoint}: there is no such file or folder.')
    place = (
        str(Path(checkpoint).resolve()) if checkpoint and '://' not in checkpoint else checkpoint
    )
    own = dict(checkpoint=place) if place else {}
    if name == SMALL:
        words = (
            'a small model that comes with the package, for trying things out on a CPU: not SAM, '
            'and much weaker'
        )
        return Encoder(name, words, 256, '_small', own, None)
    backbone = {} if name == 'base' else dict(backbone=dict(arch=name))
    if name not in PUBLISHED and not place:
        raise ValueError(
            f'--encoder {name}: there are no published weights of it; name yours by --checkpoint.'
        )
    words = f'SAM ViT-{name[0].upper()}' if name in PUBLISHED else f"ViT-{name} in SAM's shape"
    if place:
        return Encoder(name, words, 512, '', {**own, **backbone}, None)
    address = PUBLISHED[name]
    file = address.rpartition('/')[2]
    advice = (
        None
        if is_at_hand(address)
        else f"SAM's weights, {file}, are downloaded from {address} at the first start of the "
        f'training. Without a network here: fetch the file elsewhere and give --checkpoint {file}; '
        f'to try things out without any download: --encoder {SMALL}'
    )
    return Encoder(name, words, 512, '', backbone, advice)
