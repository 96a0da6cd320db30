"""Where a method goes: which blocks of a host, and which linear layers of a block.

A host is a ``SAMViT`` encoder or the two-way transformer of SAM's mask decoder.
"""
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

Blocks = str | Sequence[int]
"""'all', 'first:N', 'last:N', or the blocks' numbers."""

QKV = ('q', 'k', 'v')
LEAVES = {
    'qkv': ('qkv', 'q_proj', 'k_proj', 'v_proj'), 'q': ('q_proj',), 'k': ('k_proj',), 'v': ('v_proj',),
    'proj': ('proj', 'out_proj'), 'mlp': ('lin1', 'lin2'), 'lin1': ('lin1',), 'lin2': ('lin2',),
}
"""The linear layers that a target names, by the last part of their own names. q, k and v are also parts of a fused qkv."""


def extend(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Makes ``module`` an instance of ``kind``, a subclass of its own class, in place: parameters, children and their names
    stay (torch's parametrizations do the same). Returns it."""
    if not issubclass(kind, type(module)):
        raise TypeError(f'{kind.__name__} extends no {type(module).__name__}.')
    module.__class__ = kind
    return module


class Target(NamedTuple):
    """A linear layer to adapt, ``parent.attribute``. ``parts``: the chosen thirds (0, 1, 2) of a fused qkv; None for all."""

    parent: nn.Module
    attribute: str
    parts: tuple[int, ...] | None

    @property
    def linear(self) -> nn.Linear:
        return getattr(self.parent, self.attribute)


def blocks_of(host: nn.Module) -> list[nn.Module]:
    """The host's blocks in the order they run; the decoder's are its two-way layers and its final attention."""
    return list(host.blocks) if hasattr(host, 'blocks') else [*host.layers, host.final_attn_token_to_image]


def chosen_blocks(host: nn.Module, blocks: Blocks) -> dict[int, nn.Module]:
    """The blocks that ``blocks`` names, by number. ValueError when it names none, or one that is not there."""
    every = blocks_of(host)
    if isinstance(blocks, str):
        side, _, count = blocks.partition(':')
        number = int(count) if count.isdecimal() else 0
        numbers = {'all': range(len(every) if not count else 0), 'first': range(number),
                   'last': range(len(every) - number, len(every))}.get(side, ())
    else:
        numbers = sorted(set(blocks))
    if not numbers or min(numbers) < 0 or max(numbers) >= len(every):
        raise ValueError(f"blocks={blocks!r}: take 'all', 'first:N', 'last:N' or a list of block numbers; there are "
                         f'{len(every)} blocks, 0 to {len(every) - 1}.')
    return {number: every[number] for number in numbers}


def reached_parameters(host: nn.Module, blocks: Blocks) -> set[str]:
    """Names of the parameters in the chosen blocks, after the blocks (the neck), and, if block 0 is chosen, before them."""
    chosen = chosen_blocks(host, blocks)
    skipped = {id(p) for number, block in enumerate(blocks_of(host)) if number not in chosen for p in block.parameters()}
    before = () if 0 in chosen else ('patch_embed.', 'pos_embed')
    return {name for name, p in host.named_parameters() if id(p) not in skipped and not name.startswith(before)}


def target_linears(host: nn.Module, targets: str | Sequence[str], blocks: Blocks = 'all') -> list[Target]:
    """Every linear layer that ``targets`` names in the chosen blocks.

    Args:
        targets: Of 'qkv', 'q', 'k', 'v', 'proj' (the attention's output), 'mlp', or 'lin1' and 'lin2' of the mlp.

    Raises:
        ValueError: An unknown target; no such block; the chosen blocks have none of these layers.
    """
    targets = (targets,) if isinstance(targets, str) else tuple(targets)
    unknown = [target for target in targets if target not in LEAVES]
    if unknown or not targets:
        raise ValueError(f'target {unknown[0] if unknown else ""!r} matches no linear layer: take from {", ".join(LEAVES)}.')
    leaves = {leaf for target in targets for leaf in LEAVES[target]}
    parts = tuple(i for i, part in enumerate(QKV) if part in targets)
    found = []
    for block in chosen_blocks(host, blocks).values():
        for module in block.modules():
            for name, child in module.named_children():
                if isinstance(child, nn.Linear) and name in leaves:
                    found.append(Target(module, name, None))
                elif isinstance(child, nn.Linear) and name == 'qkv' and parts:
                    found.append(Target(module, name, None if len(parts) == 3 else parts))
    if not found:
        raise ValueError(f'blocks={blocks!r} have no linear layer of targets={targets}.')
    return found


def place_rows(update: Tensor, parts: tuple[int, ...] | None) -> Tensor:
    """(len(parts) * C, ...) to (3 * C, ...): the chosen thirds of a fused qkv, zeros in the others."""
    if parts is None:
        return update
    chunks = dict(zip(parts, update.chunk(len(parts)), strict=True))
    zero = torch.zeros_like(chunks[parts[0]])
    return torch.cat([chunks.get(part, zero) for part in range(3)])
