"""What programs call: models ready to predict, adapter files."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..adapters.file import read_header
    from ..adapters.match import load_adapter, save_adapter
    from .bank import AdapterBank
    from .inference import inference_model, inferencer, init_model
    from .objects.predictor import Predictor
    from .prediction import predict

PLACES = {
    'AdapterBank': '.bank',
    'Predictor': '.objects.predictor',
    'inference_model': '.inference',
    'inferencer': '.inference',
    'init_model': '.inference',
    'load_adapter': '..adapters.match',
    'predict': '.prediction',
    'read_header': '..adapters.file',
    'save_adapter': '..adapters.match',
}
"""Imported when asked for: a tool that refuses a config needs no model."""


def __getattr__(name: str) -> object:
    if name not in PLACES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(PLACES[name], __name__), name)


__all__ = [
    'AdapterBank',
    'Predictor',
    'inference_model',
    'inferencer',
    'init_model',
    'load_adapter',
    'predict',
    'read_header',
    'save_adapter',
]
