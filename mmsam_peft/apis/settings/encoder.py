"""``encoder``: which network reads the image."""

import copy
import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from ...models.backbones.variants import PUBLISHED, VARIANTS, Variant, has, variant_of
from .base import Place, Setting, takes
from .image_size import ImageSize
from .method import TUNED

HEADS = ('SAMMaskHead', 'MSAMHead')


class Encoder(Setting):
    """The encoder by its name in ``models/backbones/variants.py``, with the weights its authors
    publish. Mean and standard deviation of the images, and the sizes of SAM's mask decoder, follow
    it; the fine-tuning method and other settings of the backbone stay. So does a file that
    ``model.checkpoint`` names, or None.

    The recipe's image size stays too, unless the encoder would have to pad it: then it becomes the
    nearest that it takes as it is, with a line in the log. ``image_size`` is taken as it is given.
    """

    name = 'encoder'
    example = 'sam_vit_l'

    def read(self, given: Any) -> str:
        if given not in VARIANTS:
            like = difflib.get_close_matches(str(given), VARIANTS, 1, 0.5)
            hint = f'did you mean {like[0]}?' if like else 'expected one of them.'
            raise ValueError(
                f'encoder={given!r} is unknown: there are {", ".join(VARIANTS)}; {hint}'
            )
        return given

    def places(self, cfg: Config) -> Iterator[Place]:
        for name, node, keys in _parts(cfg):
            for key in sorted(keys & node.keys()):
                yield Place(f'model.{name}.{key}', node, key, node[key])

    def apply(self, cfg: Config, value: str) -> None:
        model, variant = cfg.get('model') or {}, VARIANTS[value]
        if model.get('type') not in TUNED or not model.get('backbone'):
            raise ValueError(
                f'encoder={value}: the model of this config, {model.get("type")}, has no encoder '
                f'that could be replaced; those of {" and ".join(TUNED)} have: take a config of '
                'SAM, such as those of configs/lora/.'
            )
        if not self.disagreements(cfg, value):
            return
        before = VARIANTS.get(variant_of(model['backbone'], model.get('decode_head')))
        _require_taken(model['backbone'], value)
        for name, node, keys in _parts(cfg):
            for key in keys & node.keys():
                del node[key]  # else a dict would be merged into another
            node.update(copy.deepcopy(dict(getattr(variant, FIELDS[name]))))
        for node in (model, model['backbone']):
            if node.get('checkpoint') in {PUBLISHED, *(one.address for one in VARIANTS.values())}:
                node['checkpoint'] = PUBLISHED
        _set_colours(model.get('data_preprocessor') or {}, variant)
        if before is None or before.patch != variant.patch:
            _fit_image_size(cfg, value)

    def disagreements(self, cfg: Config, value: str) -> list[str]:
        found = []
        for name, node, keys in _parts(cfg):
            wanted = getattr(VARIANTS[value], FIELDS[name])
            differ = [key for key in keys if not _agree(node, wanted, key)]
            found += [f'model.{name}.{key}: {node.get(key)}' for key in sorted(differ)]
        return found


FIELDS = dict(backbone='backbone', decode_head='head')
"""What of a ``Variant`` a part of the model gets."""


def _parts(cfg: Config) -> Iterator[tuple[str, dict, set[str]]]:
    """The parts of a model that depend on the encoder, and their keys that do."""
    model = cfg.get('model') or {}
    for name, field in FIELDS.items():
        node = model.get(name)
        if name == 'backbone' and node or node and node.get('type', HEADS[1]) in HEADS:
            yield name, node, {key for one in VARIANTS.values() for key in getattr(one, field)}


def _agree(node: Mapping, wanted: Mapping, key: str) -> bool:
    if key in wanted:
        return has(node, {key: wanted[key]})
    return key not in node or has({'type': node.get('type')}, {key: node[key]})


def _require_taken(backbone: dict, value: str) -> None:
    """Takes out what the encoder does not know and that says what would be without it.

    Raises:
        ValueError: It says something else.
    """
    wanted, before = VARIANTS[value].backbone, {'type': backbone.get('type')}
    if has(before, {'type': wanted['type']}):
        return
    sizes = {key for one in VARIANTS.values() for key in one.backbone}
    unknown = [key for key in backbone if key not in sizes and not takes(wanted['type'], key)]
    if lost := [key for key in unknown if not has(before, {key: backbone[key]})]:
        raise ValueError(
            f'encoder={value} stands for a {wanted["type"]}, which has no {", ".join(lost)}, but '
            f'model.backbone says {", ".join(f"{key}={backbone[key]}" for key in lost)}: leave '
            'that out, or take another encoder.'
        )
    for key in unknown:
        del backbone[key]


def _set_colours(prepared: dict, variant: Variant) -> None:
    """Mean and standard deviation, where they are those of an encoder; further channels than three
    keep theirs."""
    for key in ('mean', 'std'):
        said = list(prepared.get(key) or ())
        if tuple(said[:3]) in {getattr(one, key) for one in VARIANTS.values()}:
            prepared[key] = [*getattr(variant, key), *said[3:]]


def _fit_image_size(cfg: Config, value: str) -> None:
    setting = ImageSize()
    said = [place.value for place in setting.places(cfg) if place.bound and place.value]
    if cfg.get('image_size') is not None or not said or setting.disagreements(cfg, said[0]):
        return
    size = VARIANTS[value].fitted(said[0])
    if size != said[0]:
        setting.apply(cfg, size)
        _tell(
            f'encoder={value}: images are brought to {size[0]} x {size[1]}, which it takes without '
            f'padding, in place of {said[0][0]} x {said[0][1]}; image_size sets another size.'
        )


@cache
def _tell(text: str) -> None:
    """Once, though a config is read on trial before options are merged into it."""
    print_log(text, 'current')
