"""BitFit (Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based
Masked Language-models", ACL 2022)."""

from torch import nn

from ..registry import PEFT
from .full import Full
from .placement import reached_parameters


@PEFT.register_module()
class BitFit(Full):
    """Trains every bias of the host: of linear layers, norms and the patch embedding. Position
    tables are no biases. Merging is trivial.

    Args:
        blocks: 'all', 'first:N', 'last:N' or block numbers. What follows the blocks (the neck's
            norms) is always trained, what precedes them (the patch embedding) if block 0 is.
    """

    def inject(self, host: nn.Module) -> None:
        self.names = {
            name for name in reached_parameters(host, self.blocks) if name.endswith('bias')
        }
        if not self.names:
            raise ValueError(
                f'BitFit trains biases, and blocks={self.blocks!r} of {type(host).__name__} have '
                'none.'
            )
