"""Task weightings, one file each. ``base.py`` holds their contract and the two kinds of them."""

from importlib import import_module
from pkgutil import iter_modules

from .base import GradientWeighting, LossWeighting, Weighting
from .step import average

for module in iter_modules(__path__):  # a weighting is registered by being here
    import_module(f'{__name__}.{module.name}')

__all__ = ['GradientWeighting', 'LossWeighting', 'Weighting', 'average']
