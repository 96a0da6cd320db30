from .autocast_wrapper import AutocastOptimWrapper
from .hooks import *  # noqa: F403
from .trained_params_constructor import TrainedParamsConstructor
from .weighting import *  # noqa: F403

__all__ = ['AutocastOptimWrapper', 'TrainedParamsConstructor']
