"""Checkpoints without the frozen weights: these are in the file that ``model.checkpoint`` names,
and the header knows their hash."""

from collections.abc import Sequence

from torch import Tensor, nn

from .frozen import frozen_weights

APART = 'mmsam_peft_base_apart'
"""The name, in a checkpoint's ``meta``, of the file or address that holds the rest."""


def without_base(
    model: nn.Module, state: dict[str, Tensor], tables: Sequence[str]
) -> dict[str, Tensor]:
    """What of a ``PEFTSegmentor``'s state dict is not in its base file: all but the frozen weights
    of what was adapted. Position tables, which the file has in another size, stay.

    Args:
        tables: How the names of these are known.
    """
    frozen = {
        prefix + name
        for prefix, (host, method) in model.adapted.items()
        for name in frozen_weights(host, method)
        if not any(table in name for table in tables)
    }
    kept = type(state)((name, value) for name, value in state.items() if name not in frozen)
    if hasattr(state, '_metadata'):
        kept._metadata = state._metadata
    return kept
