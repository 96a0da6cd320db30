"""Fine-tuning methods, one file each. ``base.py`` holds their contract, ``anatomy.py`` what they
may ask of a host."""

from importlib import import_module
from pkgutil import iter_modules

from .anatomy import Anatomy, BlockParts, anatomy_of, describes
from .base import Mergeable, PEFTMethod, apply_peft, build_method, count_parameters, what_is_missing
from .placement import chosen_blocks, reached_parameters, specialise_in_place, target_linears

for module in iter_modules(__path__):  # a method is registered by being here
    import_module(f'{__name__}.{module.name}')

__all__ = [
    'Anatomy',
    'BlockParts',
    'Mergeable',
    'PEFTMethod',
    'anatomy_of',
    'apply_peft',
    'build_method',
    'chosen_blocks',
    'count_parameters',
    'describes',
    'reached_parameters',
    'specialise_in_place',
    'target_linears',
    'what_is_missing',
]
