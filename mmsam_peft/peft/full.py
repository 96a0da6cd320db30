"""Full fine-tuning; from scratch where the config names no checkpoint."""

from torch import nn

from ..registry import PEFT
from .base import PEFTMethod
from .placement import Blocks, reached_parameters


@PEFT.register_module()
class Full(PEFTMethod):
    """Trains every parameter of the host. Merging is trivial.

    Args:
        blocks: 'all', 'first:N', 'last:N' or block numbers. What follows the blocks (the neck) is
            always trained, what precedes them (patch and position embedding) if block 0 is.
    """

    merges = 'fully'

    def __init__(self, blocks: Blocks = 'all') -> None:
        self.blocks = blocks

    def inject(self, host: nn.Module) -> None:
        self.names = reached_parameters(host, self.blocks)

    def trains(self, name: str) -> bool:
        return name in self.names
