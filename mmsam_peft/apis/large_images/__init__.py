"""Images that do not fit into memory: read, predicted and written window by window."""

from .prediction import Settings, predict_large

__all__ = ['Settings', 'predict_large']
