"""Fine-tuning methods, one file each. ``base.py`` holds their contract, ``placement.py`` where they go."""
from importlib import import_module
from pkgutil import iter_modules

from .base import Mergeable, PEFTMethod, apply_peft, build_method, count_parameters
from .placement import blocks_of, chosen_blocks, extend, place_rows, reached_parameters, target_linears

for module in iter_modules(__path__):  # a method is registered by being here
    import_module(f'{__name__}.{module.name}')

__all__ = [
    'Mergeable', 'PEFTMethod', 'apply_peft', 'blocks_of', 'build_method', 'chosen_blocks', 'count_parameters', 'extend',
    'place_rows', 'reached_parameters', 'target_linears',
]
