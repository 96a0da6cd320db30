"""Mixed precision on any device."""

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn

from ..registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Runs the forward pass in bfloat16, on GPUs and CPUs, with float32 parameters and no loss
    scaling.

    MMEngine's ``AmpOptimWrapper`` refuses CPUs; for float16 on a GPU use that one.
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
