"""Kinds of dense tasks, one file each. ``base.py`` holds their contract."""

from importlib import import_module
from pkgutil import iter_modules

from .base import Task, build_tasks

for module in iter_modules(__path__):  # a kind is registered by being here
    import_module(f'{__name__}.{module.name}')

__all__ = ['Task', 'build_tasks']
