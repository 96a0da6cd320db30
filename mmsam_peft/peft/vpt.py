"""VPT (Jia et al., "Visual Prompt Tuning", ECCV 2022)."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ..registry import PEFT
from .anatomy import Anatomy, anatomy_of
from .base import PEFTMethod
from .placement import Blocks, chosen_blocks, specialise_in_place


class Prompted:
    """Mixin of a block with prompts of its own, ``vpt_prompts`` of (P, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, self.vpt_prompts[None])


class Carrying:
    """Mixin of a block that transforms prompts along with the map."""

    def forward(self, x: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_both(x, prompts)


class ShallowWalk(nn.Module):
    """The encoder's walk with ``vpt_prompts`` of (P, C) beside the map from block ``first`` to
    block ``last``."""

    def __init__(self, prompts: nn.Parameter, first: int, last: int) -> None:
        super().__init__()
        self.vpt_prompts, self.first, self.last = prompts, first, last

    def forward(self, encoder: nn.Module, image: Tensor) -> Iterator[Tensor]:
        x, prompts = encoder.add_position(encoder.patch_embed(image)), self.vpt_prompts[None]
        for number, block in enumerate(encoder.blocks):
            if self.first <= number < self.last:
                x, prompts = block(x, prompts)
            else:
                x = block(x, prompts if number == self.last else None)
            yield x


@PEFT.register_module()
class VPT(PEFTMethod):
    """P trained prompts, tokens beside those of the map. For the map x of (N, C) and the prompts p
    of (P, C), a block computes

        [p, x] <- [p, x] + Attention(norm1([p, x])),   [p, x] <- [p, x] + MLP(norm2([p, x]))

    In SAM's blocks, prompts have no relative position: as queries and as keys their logit is scale
    * q.k alone. In SAM 3's, they are not turned, as if they were in the first cell. Every window of
    a windowed block sees all prompts, besides its own tokens and its padding.

    Deep: every chosen block has prompts of its own, which take the place of those of the block
    before. What a block makes of its prompts is thus dropped, and only their keys and values
    matter: their attention output and MLP are not computed, which changes nothing.

    Shallow: one set of prompts enters at the first chosen block and goes through all blocks up to
    the last chosen one, where its output is dropped likewise. In a windowed block the prompts
    attend in every window; they go on with the mean of what they get in the windows of their image.

    Trains the prompts, uniform in +-sqrt(6 / (3 * patch_size^2 + C)) at first. Cannot merge. Is not
    the identity at initialisation: further keys change every softmax, whatever the prompts' values.

    Args:
        num_tokens: P, at least 1.
        deep: Prompts of their own for every block (the paper's VPT-Deep) instead of one set
            (VPT-Shallow).
        blocks: 'all', 'first:N', 'last:N' or block numbers; without ``deep`` only the first and
            last of them matter.

    Raises:
        ValueError: ``num_tokens`` below 1; no such block.
    """

    identity_at_init = False
    needs = frozenset({'tokens'})

    def __init__(self, num_tokens: int = 12, deep: bool = True, blocks: Blocks = 'all') -> None:
        if num_tokens < 1:
            raise ValueError(
                f'num_tokens={num_tokens}: VPT needs at least 1 prompt; to train none use peft '
                'type Frozen.'
            )
        self.num_tokens, self.deep, self.blocks = num_tokens, deep, blocks
        if not deep:
            self.needs = frozenset({'tokens', 'walk'})

    def inject(self, host: nn.Module) -> None:
        anatomy, chosen = anatomy_of(host), chosen_blocks(host, self.blocks)
        if self.deep:
            for number, block in chosen.items():
                specialise_in_place(block, Prompted).vpt_prompts = self.prompts(anatomy, [number])
            return
        first, last = min(chosen), max(chosen)
        host.walk = ShallowWalk(self.prompts(anatomy, range(first, last + 1)), first, last)
        for block in anatomy.blocks[first:last]:
            specialise_in_place(block, Carrying)

    def prompts(self, anatomy: Anatomy, numbers: Sequence[int]) -> nn.Parameter:
        """(P, C), for blocks of C channels."""
        like, channels = anatomy.patches.weight, anatomy.width(numbers)
        bound = math.sqrt(6 / (like[0].numel() + channels))  # 3 * patch_size^2 + C
        prompts = torch.empty(self.num_tokens, channels, device=like.device, dtype=like.dtype)
        return nn.Parameter(nn.init.uniform_(prompts, -bound, bound))
