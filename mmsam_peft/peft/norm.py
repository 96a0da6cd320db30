"""Norm tuning (Basu et al., "Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning", AAAI
2024, there LN-Tune; Zhao et al., "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM
Finetuning", ICLR 2024)."""

from torch import nn

from ..registry import PEFT
from .full import Full
from .placement import norm_parameters, reached_parameters


@PEFT.register_module()
class NormTuning(Full):
    """Trains weight and bias of every normalisation layer of the host. Merging is trivial.

    Args:
        blocks: 'all', 'first:N', 'last:N' or block numbers. The norms that follow the blocks (the
            neck's) are always trained.
    """

    needs = frozenset({'norms'})

    def inject(self, host: nn.Module) -> None:
        self.names = reached_parameters(host, self.blocks) & norm_parameters(host)
        if not self.names:
            raise ValueError(
                f'NormTuning: blocks={self.blocks!r} of {type(host).__name__} have no norm with '
                'parameters.'
            )
