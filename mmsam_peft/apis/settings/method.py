"""``method``: how the encoder is fine-tuned."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from ...peft.notation import parse_method
from ...registry import PEFT
from .base import Place, Setting


class Method(Setting):
    """The fine-tuning method as text, ``LoRA(rank=8)``, in place of ``model.backbone.peft``."""

    name = 'method'
    example = "'LoRA(rank=8)'"

    def read(self, given: Any) -> str:
        text = given if isinstance(given, str) else ''
        kind = parse_method(text)['type']
        if PEFT.get(kind) is None:
            like = difflib.get_close_matches(kind, sorted(PEFT.module_dict), 1, 0.5)
            hint = f'did you mean {like[0]}?' if like else f'{", ".join(sorted(PEFT.module_dict))}.'
            raise ValueError(f'method={given!r}: there is no method {kind}: {hint}')
        return text

    def places(self, cfg: Config) -> Iterator[Place]:
        backbone = (cfg.get('model') or {}).get('backbone')
        if backbone and 'peft' in backbone:
            yield Place('model.backbone.peft', backbone, 'peft', backbone['peft'], parse_method)

    def apply(self, cfg: Config, value: str) -> None:
        backbone = (cfg.get('model') or {}).get('backbone')
        if not backbone or (cfg.model.get('type') not in TUNED and 'peft' not in backbone):
            raise ValueError(
                f'method={value}: the model of this config, {(cfg.get("model") or {}).get("type")},'
                f' is not fine-tuned by methods; those of {" and ".join(TUNED)} are.'
            )
        if self.disagreements(cfg, value):
            backbone['peft'] = parse_method(value)

    def disagreements(self, cfg: Config, value: str) -> list[str]:
        """Arguments beside those of the text are allowed: the tools add the number of tasks."""
        found = (cfg.get('model') or {}).get('backbone', {}).get('peft') or {}
        wanted = parse_method(value)
        same = isinstance(found, Mapping) and all(
            found.get(key) == one for key, one in wanted.items()
        )
        return [] if same else [f'model.backbone.peft: {dict(found)}']


TUNED = ('PEFTSegmentor', 'MultiTaskSegmentor')
