"""What programs call: models ready to predict, adapter files."""

from ..adapters.file import read_header
from ..adapters.match import load_adapter, save_adapter
from .bank import AdapterBank
from .inference import inference_model, inferencer, init_model
from .prediction import predict

__all__ = [
    'AdapterBank',
    'inference_model',
    'inferencer',
    'init_model',
    'load_adapter',
    'predict',
    'read_header',
    'save_adapter',
]
