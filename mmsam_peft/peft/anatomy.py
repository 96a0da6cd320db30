"""What a fine-tuning method may ask of its host: an encoder, or the two-way transformer of a mask
decoder.

No method knows an encoder, no encoder a method. A host states where its parts are and what can be
done with it, as its ``anatomy``; a method states what it ``needs``. Classes of other packages are
described in ``hosts.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from ..layers.token_layout import TokenLayout

ROLES = ('qkv', 'q', 'k', 'v', 'proj', 'lin1', 'lin2')
"""What a block's linear layers are for: the attention's queries, keys and values, as one layer or
three; its output; the first and the second layer of the mlp."""

WORDS = {
    'maps': 'linear layers that see maps (B, H, W, C)',
    'tokens': 'an attention that takes extra tokens',
    'walk': 'a loop over the blocks that can be replaced',
    'branches': 'blocks that can run once per task',
    'resize': 'blocks that can be made at another width',
    'uniform': 'blocks of one width, on maps of one size',
    'mlp': 'an mlp in its blocks',
    'norms': 'normalisation layers',
}
"""What a method may need, as a message says it. ``mlp`` and ``norms`` follow from a host's parts.
The others are promises:

maps: The blocks' linear layers get (B, H, W, C), where a window is a map of its own; or tokens
(B, N, C) that lie as
    ``Anatomy.layout`` says. A layer that is ``cell_by_cell``, see ``layers.windows``, may get cells
    in any arrangement.

tokens: ``block(x, extra)`` lets the attention see extra tokens (1 or B, P, C), and
``block.forward_both(x, extra)`` gives the
    map and the tokens after the block. ``layers.block.Block`` does both.

walk: ``host.walk(host, host.pad(images))`` yields the map after each of ``host.blocks``, and a
method may put a module
    in its place. It begins with ``host.add_position(host.patch_embed(images))``;
    ``host.finish(*maps)`` makes of the last map, or of those after the blocks ``host.ends``, what
    the host returns. ``Anatomy.patches`` is stated. ``layers.block.run_blocks`` is such a loop.

branches: A block adds to its residual stream by ``block.add(x, gain)`` alone, runs by
``block.run(transform, x, ..)``,
    which may run ``transform`` again in the backward pass, and has a fused qkv.
    ``layers.block.Block`` does.

resize: ``block.resized(width, num_heads, mlp_ratio)`` is a new block with the same attention and
windows.

uniform: The map after every block has the size and the channels of the one before it.
"""


@dataclass(frozen=True)
class BlockParts:
    """Where things are in a block, by their paths in it, such as 'attn.qkv'.

    Attributes:
        linears: Linear layers by their role, one path or, in a block with several attentions, more.
        lacks: Roles that the block by its nature has no layer for: targets pass it over. Any other
            role that ``linears`` leaves out is an error where a target names it.
        mlp: The module that has 'lin1' and 'lin2', whose output, (.., C), is added to the residual
            stream; None for none.
        qkv_groups: A fused qkv's rows are (qkv_groups, 3, n): 1 for thirds, q before k before v;
            the number of heads where each head has its q, k and v side by side.
    """

    linears: Mapping[str, str | Sequence[str]]
    lacks: Sequence[str] = ()
    mlp: str | None = None
    qkv_groups: int = 1

    def paths(self, role: str) -> tuple[str, ...]:
        paths = self.linears.get(role, ())
        return (paths,) if isinstance(paths, str) else tuple(paths)

    @property
    def fused(self) -> bool:
        return 'qkv' in self.linears


@dataclass(frozen=True)
class Anatomy:
    """
    Attributes:
        blocks: The blocks in the order they run.
        parts: Those of every block, or of each.
        before: Beginnings of the names of parameters that are used before block 0. What is neither
            in a block nor before them follows them.
        norms: The classes of the host's normalisation layers, in the blocks and outside.
        can: What can be done with the host, of 'maps', 'tokens', 'walk', 'branches', 'resize' and
            'uniform'; see :data:`WORDS`.
        patches: The convolution that makes the patches.
        outputs: Numbers of the blocks whose maps the host returns or goes on with; the last alone
            by default.
        heads: Of the attention of every block, or of each, where each query and key is a cell of
            the block's map: who looks at the attention reads it with them. None: not stated.
        layout: Where the map lies in the tokens, of a host whose linear layers get tokens.

    Raises:
        ValueError: An unknown word or role; a path that leads nowhere; q, k and v both fused and
            apart.
    """

    blocks: Sequence[nn.Module]
    parts: BlockParts | Sequence[BlockParts]
    before: tuple[str, ...] = ()
    norms: tuple[type[nn.Module], ...] = (nn.LayerNorm,)
    can: frozenset[str] = field(default_factory=frozenset)
    patches: nn.Conv2d | None = None
    outputs: tuple[int, ...] | None = None
    heads: int | Sequence[int] | None = None
    layout: TokenLayout | None = None

    def __post_init__(self) -> None:
        parts = (
            [self.parts] * len(self.blocks) if isinstance(self.parts, BlockParts) else self.parts
        )
        for name, value in dict(
            blocks=tuple(self.blocks),
            parts=tuple(parts),
            can=frozenset(self.can),
            outputs=(len(self.blocks) - 1,) if self.outputs is None else tuple(self.outputs),
        ).items():
            object.__setattr__(self, name, value)  # as a frozen dataclass wants it
        if unknown := sorted(self.can - WORDS.keys() | self.can & {'mlp', 'norms'}):
            raise ValueError(f'can={unknown}: expected some of {", ".join(list(WORDS)[:6])}.')
        if 'walk' in self.can and self.patches is None:
            raise ValueError(
                "can 'walk', but patches is None: state the convolution that makes the patches."
            )
        for number, (block, parts) in enumerate(zip(self.blocks, self.parts, strict=True)):
            _check_parts(number, block, parts, self.can)

    @property
    def offers(self) -> frozenset[str]:
        """All of :data:`WORDS` that the host has."""
        found = {'mlp': any(parts.mlp for parts in self.parts), 'norms': bool(self.norms)}
        return self.can | {word for word, there in found.items() if there}

    def linear(self, number: int, role: str) -> nn.Linear:
        """The first of a block's layers of a role."""
        layer: nn.Linear = self.blocks[number].get_submodule(self.parts[number].paths(role)[0])
        return layer

    def width(self, numbers: Sequence[int]) -> int:
        """Channels C of these blocks. ValueError where they differ."""
        widths = {
            self.linear(number, 'qkv' if self.parts[number].fused else 'q').in_features
            for number in numbers
        }
        if len(widths) > 1:
            found = ', '.join(map(str, sorted(widths)))
            raise ValueError(
                f'Blocks {min(numbers)} to {max(numbers)} are {found} channels wide, and the '
                'method needs blocks '
                'of one width: choose such blocks.'
            )
        return widths.pop()


def _check_parts(number: int, block: nn.Module, parts: BlockParts, can: frozenset[str]) -> None:
    if unknown := sorted({*parts.linears, *parts.lacks} - set(ROLES)):
        raise ValueError(
            f'Block {number}: got the role {unknown[0]!r}, expected of {", ".join(ROLES)}.'
        )
    if parts.fused and {'q', 'k', 'v'} & parts.linears.keys():
        raise ValueError(f'Block {number} has qkv as one layer and apart: state the one that runs.')
    if 'branches' in can and not parts.fused:
        raise ValueError(f"Block {number} has no fused qkv, which 'branches' promises.")
    if parts.mlp is not None and not {'lin1', 'lin2'} <= parts.linears.keys():
        raise ValueError(
            f"Block {number} has the mlp {parts.mlp!r}: state its layers as roles 'lin1' and "
            "'lin2' too."
        )
    modules = dict(block.named_modules())
    paths = [path for role in parts.linears for path in parts.paths(role)]
    if parts.mlp is not None:
        paths.append(parts.mlp)
    for path in paths:
        if path not in modules:
            raise ValueError(
                f'Block {number}, a {type(block).__name__}, has no {path!r}: its modules are '
                f'{", ".join(name for name in modules if name)}.'
            )
    if any(isinstance(module, nn.MultiheadAttention) for module in modules.values()):
        raise ValueError(
            f'Block {number} has an nn.MultiheadAttention, which uses the weights of its layers '
            'without calling '
            'them, so that no method could change what they do: write its projections as nn.Linear '
            'layers.'
        )


DESCRIBERS: dict[str, Callable[[nn.Module], Anatomy]] = {}
"""What gives the anatomy of a class that does not state it, by the class's name."""


def describes(
    *names: str,
) -> Callable[[Callable[[nn.Module], Anatomy]], Callable[[nn.Module], Anatomy]]:
    """Registers a function as the one that gives the anatomy of the classes of these names, and of
    their subclasses."""

    def register(describe: Callable[[nn.Module], Anatomy]) -> Callable[[nn.Module], Anatomy]:
        DESCRIBERS.update(dict.fromkeys(names, describe))
        return describe

    return register


def anatomy_of(host: nn.Module) -> Anatomy:
    """The host's own ``anatomy``, or as its class is described. ValueError where it is not
    known."""
    if hasattr(type(host), 'anatomy') or 'anatomy' in vars(host):
        own: Anatomy = host.anatomy
        return own
    for kind in type(host).__mro__:
        if kind.__name__ in DESCRIBERS:
            return DESCRIBERS[kind.__name__](host)
    raise ValueError(
        f'{type(host).__name__} states no anatomy, so that no fine-tuning method knows where to '
        'go: give it the '
        f'property anatomy, or describe its class as mmsam_peft/peft/hosts.py does. Known are '
        f'{", ".join(sorted(DESCRIBERS))}; docs/add_an_encoder.md shows how.'
    )
