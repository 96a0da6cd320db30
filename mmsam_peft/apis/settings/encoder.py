"""``encoder``: which network reads the image."""

import difflib
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .base import Place, Setting

ENCODERS = {
    'sam_vit_b': dict(type='SAMViT', arch='base'),
    'sam_vit_l': dict(type='SAMViT', arch='large'),
    'sam_vit_h': dict(type='SAMViT', arch='huge'),
    'small': dict(
        type='SAMViT',
        arch=dict(
            embed_dim=128,
            depth=6,
            num_heads=4,
            window_size=8,
            global_attn_indexes=(2, 5),
            out_channels=128,
        ),
    ),
}
"""What a name stands for in ``model.backbone``; its weights are ``checkpoint='published'``. 'small'
is not SAM: it comes with this package, to try things out (configs/_base_/models/small.py)."""
SMALL_WEIGHTS, SMALL_HEAD = (
    'mmsam_peft://quickstart',
    dict(in_channels=128, num_heads=4, mlp_dim=256),
)
SIZES = ('in_channels', 'num_heads', 'mlp_dim')
"""What a decoder of SAM's takes from the encoder; its defaults fit those above."""


class Encoder(Setting):
    """The encoder by its published name, with the weights its authors publish; the fine-tuning
    method, image size and other settings of the backbone stay. A file that ``model.checkpoint``
    names, or None, stays too."""

    name = 'encoder'
    example = 'sam_vit_l'

    def read(self, given: Any) -> str:
        if given not in ENCODERS:
            like = difflib.get_close_matches(str(given), ENCODERS, 1, 0.5)
            hint = f'did you mean {like[0]}?' if like else 'expected one of them.'
            raise ValueError(
                f'encoder={given!r} is unknown: there are {", ".join(ENCODERS)}; {hint}'
            )
        return given

    def places(self, cfg: Config) -> Iterator[Place]:
        backbone = (cfg.get('model') or {}).get('backbone') or {}
        for key in ('type', 'arch'):
            if key in backbone:
                yield Place(f'model.backbone.{key}', backbone, key, backbone[key])

    def apply(self, cfg: Config, value: str) -> None:
        model, wanted = cfg.get('model') or {}, ENCODERS[value]
        backbone = model.get('backbone') or {}
        if backbone.get('type') != wanted['type']:
            raise ValueError(
                f'encoder={value} stands for a {wanted["type"]}, but model.backbone of this config '
                f'is a {backbone.get("type")}: take a config of SAM, such as those of '
                'configs/lora/.'
            )
        if not self.disagreements(cfg, value):
            return
        backbone.pop('arch', None)  # else a dict would be merged into another
        backbone.update(wanted)
        known = str(model.get('checkpoint')).startswith(('published', 'mmsam_peft://'))
        if known:
            model['checkpoint'] = SMALL_WEIGHTS if value == 'small' else 'published'
        for key in SIZES:
            if model.get('decode_head', {}).get('type') in ('SAMMaskHead', 'MSAMHead'):
                model['decode_head'].pop(key, None)
                if value == 'small':
                    model['decode_head'][key] = SMALL_HEAD[key]

    def disagreements(self, cfg: Config, value: str) -> list[str]:
        return [
            f'{place.name}: {place.value}'
            for place in self.places(cfg)
            if place.value != ENCODERS[value][place.key]
        ]
