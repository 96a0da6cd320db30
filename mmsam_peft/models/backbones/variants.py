"""The encoders by their names: what builds each of them, where its weights come from, and how it
wants its images and its head.

An encoder's own file fills the table for its sizes: ``VARIANTS.update(name=Variant(...))``. The
setting ``encoder``, ``checkpoint='published'``, tools/start.py, the header of adapter files and
docs/encoders.md read it.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ...hub import page_of
from ...registry import MODELS

IMAGENET = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
PUBLISHED = 'published'
"""What ``checkpoint`` may say in place of an address of the table."""


@dataclass(frozen=True)
class Variant:
    """
    Attributes:
        words: What it is, in a few words.
        backbone: Its config: type, sizes. Nothing that a user may want otherwise.
        address: Where its authors publish its weights; None: nowhere that a program could fetch
            them from.
        licence: Of the weights.
        gated: Whether its authors give the weights only to those who ask for them.
        image_size: Side of the images that the weights were trained for last, in pixels.
        least: The smallest side that tools/start.py gives to it.
        patch: Sides that are whole numbers of it need no padding.
        mean, std: Of red, green and blue, from 0 to 255, that the weights were trained with.
        head: What ``SAMMaskHead`` and ``MSAMHead`` get for it that is not their default.
    """

    words: str
    backbone: Mapping[str, Any]
    address: str | None = None
    licence: str | None = 'Apache-2.0'
    gated: bool = False
    image_size: int = 1024
    least: int = 512
    patch: int = 16
    mean: tuple[float, float, float] = IMAGENET['mean']
    std: tuple[float, float, float] = IMAGENET['std']
    head: Mapping[str, Any] = field(default_factory=dict)

    def fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in whole patches, nearest to a recipe's; with the encoder's own long side
        where that is 2 % away at most."""
        long, own, patch = max(size), self.image_size, self.patch
        near = abs(long - own) <= 0.02 * own
        new = own if near else max(1, round(long / patch)) * patch
        height, width = (-(-side * new // (long * patch)) * patch for side in size)
        return height, width

    @property
    def page(self) -> str | None:
        """Where a person gets the weights."""
        return self.address and page_of(self.address)


VARIANTS: dict[str, Variant] = {}


def variant_of(backbone: Mapping, head: Mapping | None = None) -> str | None:
    """The name of the variant that the configs of an encoder and of a head build; None where its
    sizes are of their own. Where one encoder has several sets of weights, the head decides."""
    found = None
    for name, variant in VARIANTS.items():
        if has(backbone, variant.backbone):
            rank = len(variant.backbone), len(variant.head) if has(head, variant.head) else -1
            if found is None or rank > found[0]:
                found = rank, name
    return found and found[1]


def address_of(
    checkpoint: str | None, backbone: Mapping, head: Mapping | None = None
) -> str | None:
    """``checkpoint`` itself; for 'published', the address of the weights that their authors publish
    for the encoder of these configs.

    Raises:
        ValueError: There are none; says which there are, or how to get them.
    """
    if checkpoint != PUBLISHED:
        return checkpoint
    name = variant_of(backbone, head)
    if name is None:
        sizes = {key: backbone[key] for key in ('type', 'arch') if key in backbone}
        raise ValueError(
            f"checkpoint='published', but nobody publishes weights for an encoder of {sizes}: "
            f'they are there for {", ".join(VARIANTS)} (encoder=NAME at the top of a config). Set '
            'model.checkpoint to a file or an address, or to None for random values.'
        )
    if VARIANTS[name].address is None:
        raise ValueError(
            f"checkpoint='published', but the weights of {name} cannot be fetched by a program: "
            'set model.checkpoint to a file of them; docs/encoders.md says where they are.'
        )
    return VARIANTS[name].address


def has(config: Mapping | None, wanted: Mapping) -> bool:
    """Whether a config says what is wanted, by itself or by its class's defaults."""
    if config is None:
        return not wanted
    said = {**defaults_of(config.get('type')), **config}
    return all(
        key in said and _plain(key, said[key]) == _plain(key, one) for key, one in wanted.items()
    )


def defaults_of(kind: str | type | None) -> dict[str, Any]:
    """Of the arguments of what a config names, those that it passes on to base classes included."""
    found = MODELS.get(kind) if isinstance(kind, str) else kind
    return _defaults(found) if found else {}


@cache
def _defaults(kind: type) -> dict[str, Any]:
    taken = [
        one
        for base in reversed(kind.__mro__)
        for one in inspect.signature(base.__init__).parameters.values()
    ]
    return {one.name: one.default for one in taken if one.default is not one.empty}


def _plain(key: str, value: Any) -> str:
    """As JSON has it, tuples as lists; a type by its bare name."""
    if key == 'type':
        return str(getattr(value, '__name__', value)).rpartition('.')[2]
    return json.dumps(value, sort_keys=True, default=str)
