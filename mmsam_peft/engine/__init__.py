from .autocast_wrapper import AutocastOptimWrapper
from .hooks import *  # noqa: F403
from .trained_params_constructor import TrainedParamsConstructor

__all__ = ['AutocastOptimWrapper', 'TrainedParamsConstructor']
