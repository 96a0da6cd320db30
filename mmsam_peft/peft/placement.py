"""Where a method goes: which blocks of a host, and which linear layers of a block."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from torch import nn

from .anatomy import Anatomy, BlockParts, anatomy_of
from .qkv import QKV, QKVParts

Blocks = str | Sequence[int]
"""'all', 'first:N', 'last:N', or the blocks' numbers."""

TARGETS = ('qkv', 'q', 'k', 'v', 'proj', 'mlp', 'lin1', 'lin2')
"""What a user calls a block's linear layers: their roles, and 'mlp' for 'lin1' and 'lin2'. A fused
qkv can be had in parts."""


class Target(NamedTuple):
    """A linear layer to adapt, ``parent.attribute``, and its role. ``qkv_parts``: of a fused qkv,
    None for other layers."""

    parent: nn.Module
    attribute: str
    role: str
    qkv_parts: QKVParts | None

    @property
    def linear(self) -> nn.Linear:
        return getattr(self.parent, self.attribute)


def chosen_blocks(host: nn.Module, blocks: Blocks) -> dict[int, nn.Module]:
    """The blocks that ``blocks`` names, by number. ValueError when it names none, or one that is
    not there."""
    every = anatomy_of(host).blocks
    if isinstance(blocks, str):
        numbers = _named_numbers(blocks, len(every))
    else:
        numbers = sorted(set(blocks))
    if not numbers or min(numbers) < 0 or max(numbers) >= len(every):
        raise ValueError(
            f"blocks={blocks!r}: use 'all', 'first:N', 'last:N' or a list of block numbers; there "
            'are '
            f'{len(every)} blocks, 0 to {len(every) - 1}.'
        )
    return {number: every[number] for number in numbers}


def _named_numbers(blocks: str, depth: int) -> Sequence[int]:
    """The numbers of 'all', 'first:N' or 'last:N'; none for any other text."""
    if blocks == 'all':
        return range(depth)
    side, _, count = blocks.partition(':')
    if side == 'first' and count.isdecimal():
        return range(int(count))
    if side == 'last' and count.isdecimal():
        return range(depth - int(count), depth)
    return ()


def stages(host: nn.Module) -> dict[str, int]:
    """Before which block every tensor of the state dict is first needed: its own block; block 0 for
    what precedes the blocks; the number of blocks for what follows them."""
    anatomy = anatomy_of(host)
    depth, paths = len(anatomy.blocks), {module: path for path, module in host.named_modules()}
    inside = {f'{paths[block]}.': number for number, block in enumerate(anatomy.blocks)}

    def stage(name: str) -> int:
        for path, number in inside.items():
            if name.startswith(path):
                return number
        return 0 if name.startswith(anatomy.before) else depth

    return {name: stage(name) for name in host.state_dict(keep_vars=True)}


def reached_parameters(host: nn.Module, blocks: Blocks) -> set[str]:
    """Names of the parameters in the chosen blocks, after the blocks (the neck), and, if block 0 is
    chosen, before them."""
    anatomy, chosen = anatomy_of(host), chosen_blocks(host, blocks)
    skipped = {
        id(p)
        for number, block in enumerate(anatomy.blocks)
        if number not in chosen
        for p in block.parameters()
    }
    before = () if 0 in chosen else anatomy.before
    return {
        name
        for name, p in host.named_parameters()
        if id(p) not in skipped and not name.startswith(before)
    }


def norm_parameters(host: nn.Module) -> set[str]:
    """Names of the parameters of the host's normalisation layers."""
    norms = anatomy_of(host).norms
    return {
        f'{path}.{name}'
        for path, layer in host.named_modules()
        if isinstance(layer, norms)
        for name, _ in layer.named_parameters()
    }


def target_linears(
    host: nn.Module, targets: str | Sequence[str], blocks: Blocks = 'all'
) -> list[Target]:
    """Every linear layer that ``targets`` names in the chosen blocks, in the order of the host's
    modules.

    Args:
        targets: Of 'qkv', 'q', 'k', 'v', 'proj' (the attention's output), 'mlp', or 'lin1' and
            'lin2' of the mlp.

    Raises:
        ValueError: An unknown target; no such block; a chosen block has no layer of a target, or
            one that is not nn.Linear.
    """
    targets = (targets,) if isinstance(targets, str) else tuple(targets)
    unknown = [target for target in targets if target not in TARGETS]
    if unknown or not targets:
        raise ValueError(
            f'target {unknown[0] if unknown else ""!r} matches no linear layer: choose from '
            f'{", ".join(TARGETS)}.'
        )
    anatomy, chosen = anatomy_of(host), chosen_blocks(host, blocks)
    for target in targets:
        lacking = [number for number in chosen if not _has(anatomy.parts[number], target)]
        by_nature = [
            number for number in lacking if _lacks_by_nature(anatomy.parts[number], target)
        ]
        if lacking != by_nature or len(lacking) == len(chosen):
            raise ValueError(_no_layer(host, anatomy, target, blocks, lacking))
    return [
        found
        for number, block in chosen.items()
        for found in _in_block(block, anatomy.parts[number], targets)
    ]


def _roles(parts: BlockParts, target: str) -> tuple[str, ...]:
    """The roles of the layers that a target means in a block."""
    if target == 'mlp':
        return 'lin1', 'lin2'
    if target == 'qkv' and not parts.fused:
        return QKV
    return ('qkv',) if target in QKV and parts.fused else (target,)


def _has(parts: BlockParts, target: str) -> bool:
    return all(parts.paths(role) for role in _roles(parts, target))


def _lacks_by_nature(parts: BlockParts, target: str) -> bool:
    return set(_roles(parts, target)) <= set(parts.lacks)


def _no_layer(
    host: nn.Module, anatomy: Anatomy, target: str, blocks: Blocks, lacking: list[int]
) -> str:
    there = [other for other in TARGETS if any(_has(parts, other) for parts in anatomy.parts)]
    return (
        f'blocks={blocks!r} have no linear layer of target {target!r}: {type(host).__name__} has '
        'none in '
        f'{", ".join(f"block {number}" for number in lacking)}. Choose from {", ".join(there)}, or '
        'other blocks.'
    )


def _in_block(block: nn.Module, parts: BlockParts, targets: Sequence[str]) -> list[Target]:
    roles = {
        path: role
        for target in targets
        for role in _roles(parts, target)
        for path in parts.paths(role)
    }
    chosen = tuple(i for i, part in enumerate(QKV) if part in targets or 'qkv' in targets)
    found = []
    for path, module in block.named_modules():
        if path in roles:
            if not isinstance(module, nn.Linear):
                raise ValueError(
                    f'{path} of {type(block).__name__} is a {type(module).__name__}, and only '
                    'nn.Linear can be '
                    'adapted: leave it out of the anatomy, or of targets.'
                )
            parent, _, attribute = path.rpartition('.')
            qkv_parts = QKVParts(chosen, parts.qkv_groups) if roles[path] == 'qkv' else None
            found.append(Target(block.get_submodule(parent), attribute, roles[path], qkv_parts))
    return found


def specialise_in_place(module: nn.Module, kind: type) -> nn.Module:
    """Makes ``module`` an instance of ``kind``, in place: its parameters, children and their names
    stay (torch's parametrizations do the same). Returns it.

    Args:
        kind: A subclass of the module's own class, or a mixin, no module itself, that goes before
            the module's class.

    Raises:
        TypeError: Another module.
    """
    if issubclass(kind, type(module)):
        module.__class__ = kind
    elif not issubclass(kind, nn.Module):
        module.__class__ = _combined(kind, type(module))
    else:
        raise TypeError(f'{kind.__name__} extends no {type(module).__name__}.')
    return module


@cache
def _combined(mixin: type, base: type[nn.Module]) -> type[nn.Module]:
    def __reduce_ex__(self, protocol: int) -> tuple:
        # pickle finds classes by name, and this one has no place of its own
        return _blank, (mixin, base), *base.__reduce_ex__(self, protocol)[2:]

    members = {'__module__': mixin.__module__, '__reduce_ex__': __reduce_ex__}
    return type(f'{mixin.__name__}{base.__name__}', (mixin, base), members)


def _blank(mixin: type, base: type[nn.Module]) -> nn.Module:
    kind = _combined(mixin, base)
    return kind.__new__(kind)
