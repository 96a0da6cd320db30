"""Norm tuning (Basu et al., "Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning", AAAI 2024, there LN-Tune; Zhao et
al., "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning", ICLR 2024)."""
from segment_anything.modeling.common import LayerNorm2d
from torch import nn

from ..registry import PEFT
from .full import Full
from .placement import reached_parameters


@PEFT.register_module()
class NormTuning(Full):
    """Trains weight and bias of every normalisation layer of the host. Merging is trivial.

    Args:
        blocks: 'all', 'first:N', 'last:N' or block numbers. The norms that follow the blocks (the neck's) are always trained.
    """

    def inject(self, host: nn.Module) -> None:
        norms = {f'{path}.{name}' for path, layer in host.named_modules() if isinstance(layer, (nn.LayerNorm, LayerNorm2d))
                 for name, _ in layer.named_parameters()}
        self.names = reached_parameters(host, self.blocks) & norms
