"""One name for every weight of a model, whatever file it comes from: ``image_encoder.*`` as the
encoder here calls it, ``mask_decoder.*`` and ``prompt_encoder.*`` as segment-anything does."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

Rules = list[tuple[str, str]]
"""Patterns and what takes their place, applied to a name in this order."""

WRAPPERS = ('state_dict', 'model_state_dict', 'model_state', 'model')
"""Under which trainers keep a model's weights in their checkpoints."""
PREFIX = re.compile(r'^((module|model|sam|base_model)\.)+')
"""What wrappers of a model, such as DistributedDataParallel or Hugging Face's peft, put before its
names."""
OURS: Rules = [
    (r'^backbone\.', 'image_encoder.'),
    (r'^decode_head\.(no_mask_embed|pe_layer)', r'prompt_encoder.\1'),
    (r'^decode_head\.prompt_encoder\.', 'prompt_encoder.'),
    (r'^decode_head\.', 'mask_decoder.'),
]
"""From the names of a ``PEFTSegmentor``."""


@dataclass(frozen=True)
class Keys:
    """What the weights of one family of encoders are called.

    Attributes:
        family: Its name in ``foreign.FAMILIES``.
        encoder: Every name that an encoder of the family may have, with ``image_encoder.`` before
            it.
        layouts: For each layout of other programs: what only its names have, and the rules from
            them to ours. The first that fits a file is taken.
        bare: For an encoder's names without anything before them.
        published: From our names to those of the family's authors, for weights that their programs
            can load.
    """

    family: str
    encoder: re.Pattern
    layouts: tuple[tuple[str, Rules], ...]
    bare: Rules
    published: Rules = ()

    def own(self, content: dict, source: str = 'The state dict') -> dict[str, Tensor]:
        """Renames the weights in a checkpoint from any known layout to ours. ValueError when two
        different weights get one name."""
        state = {
            key: value
            for key, value in unwrapped(content).items()
            if isinstance(key, str) and isinstance(value, Tensor)
        }
        names = {key: PREFIX.sub('', key.replace('_orig_mod.', '')) for key in state}
        rules = self._rules(names.values())
        renamed, origin = {}, {}
        for key, name in names.items():
            name = apply(rules, name)
            if name in renamed and not (
                renamed[name].shape == state[key].shape and renamed[name].equal(state[key])
            ):
                raise ValueError(
                    f'{source} holds two models: both {origin[name]} and {key} would be {name}. '
                    'Save the one that is meant into a file of its own.'
                )
            renamed[name], origin[name] = state[key], key
        return _apart(renamed)

    def authors(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights under our names, renamed as the family's authors name them."""
        return {apply(self.published, name): value for name, value in state.items()}

    def _rules(self, names: Iterable[str]) -> Rules:
        names = list(names)
        for mark, rules in self.layouts:
            if any(re.search(mark, name) for name in names):
                return rules
        if any(name.startswith(('backbone.', 'decode_head.')) for name in names):
            return OURS
        return self.bare


def _apart(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The points' embeddings one by one, where a file has them as rows of one tensor."""
    rows = state.pop('prompt_encoder.point_embeddings.weight', ())
    names = (f'prompt_encoder.point_embeddings.{number}.weight' for number in range(len(rows)))
    return {**state, **dict(zip(names, (row[None] for row in rows), strict=True))}


def apply(rules: Rules, name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def unwrapped(content: dict) -> dict:
    """The state dict in a trainer's checkpoint, however deep."""
    for _ in range(8):
        inner = next(
            (content[name] for name in WRAPPERS if isinstance(content.get(name), dict)), None
        )
        if inner is None:
            return content
        content = inner
    return content
