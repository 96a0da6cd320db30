"""What programs call: models ready to predict, adapter files."""
from .adapters import load_adapter, read_header, save_adapter
from .inference import inferencer, init_model, predict

__all__ = ['inferencer', 'init_model', 'load_adapter', 'predict', 'read_header', 'save_adapter']
