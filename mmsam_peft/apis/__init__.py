"""What programs call: models ready to predict, adapter files."""
from .adapters import load_adapter, read_header, save_adapter
from .bank import AdapterBank
from .inference import inferencer, init_model
from .prediction import predict

__all__ = ['AdapterBank', 'inferencer', 'init_model', 'load_adapter', 'predict', 'read_header', 'save_adapter']
