"""Prediction reads images as training did."""

from os import PathLike
from pathlib import Path

from mmengine.config import Config

from ..adapters.header import ADAPTER, parse_header
from ..safe_load import load_safetensors
from .settings import apply_settings


def keep_trained_pixels(cfg: Config, weights: str | PathLike | None) -> None:
    """Gives a config that names no ``pixels`` those that an adapter was trained on; other weights
    leave it as it is. Another value than the adapter's is refused when that is loaded."""
    if cfg.get('pixels') is not None or not str(weights).endswith('.safetensors'):
        return
    metadata = load_safetensors(weights)[1] if Path(weights).is_file() else {}
    if ADAPTER in metadata and (pixels := parse_header(metadata[ADAPTER], weights).get('pixels')):
        apply_settings(cfg, dict(pixels=pixels))
