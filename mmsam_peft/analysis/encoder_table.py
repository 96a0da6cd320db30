"""The encoders that a config can name, as a table: size, operations, licence, weights."""

from collections.abc import Iterable

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from ..models.backbones.variants import VARIANTS, Variant
from ..registry import MODELS
from .operations import ATTENTION

BEGIN, END = '<!-- made by tools/analysis_tools/list_encoders.py -->', '<!-- end of the table -->'
"""Around the table in docs/encoders.md."""
HEAD = (
    '| `encoder=` | what | parameters, M | image | GFLOP | licence of the weights | weights |',
    '|---|---|---:|---:|---:|---|---|',
)


def encoder_table(names: Iterable[str] = VARIANTS) -> str:
    """Markdown, a row for each encoder, by name."""
    return '\n'.join([*HEAD, *map(encoder_row, sorted(names))])


def encoder_row(name: str) -> str:
    variant, side = VARIANTS[name], VARIANTS[name].image_size
    with torch.device('meta'):
        encoder = MODELS.build({**variant.backbone}).eval()
    cells = [
        f'`{name}`',
        variant.words,
        f'{sum(parameter.numel() for parameter in encoder.parameters()) / 1e6:.1f}',
        f'{side}',
        f'{operations(encoder, side) / 1e9:,.0f}',
        f'{variant.licence}{", gated" if variant.gated else ""}',
        _weights(variant),
    ]
    return f'| {" | ".join(cells)} |'


def _weights(variant: Variant) -> str:
    if variant.address is None:
        return 'from their authors'
    if variant.address.startswith('mmsam_peft://'):
        return 'come with the package'
    shown = variant.address.rpartition('/')[2] if '.' in variant.address[-8:] else variant.address
    return f'[{shown}]({variant.page})'


def operations(encoder: nn.Module, side: int) -> int:
    """Multiplications and additions of a forward pass for one square image; nothing is computed.

    Args:
        encoder: Without content, on the meta device; afterwards it has as little elsewhere.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        encoder.to_empty(device='cpu')
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
            encoder(torch.empty(1, 3, side, side))
    total: int = counter.get_total_flops()
    return total
