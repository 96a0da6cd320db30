"""The model inside of what makes it data-parallel."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped(runner: Runner) -> nn.Module:
    """The runner's model itself."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
