"""Encoders, a file per family; one is registered by being here."""

from importlib import import_module
from pkgutil import iter_modules

from .hiera import Hiera
from .sam_vit import SAMViT
from .tiny_vit import TinyViT

for module in iter_modules(__path__):
    import_module(f'{__name__}.{module.name}')

__all__ = ['Hiera', 'SAMViT', 'TinyViT']
