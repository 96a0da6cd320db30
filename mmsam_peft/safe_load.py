"""Opening checkpoint files without ever running code from them.

MMEngine tries a weights-only load and silently falls back to unpickling anything. Importing ``mmsam_peft`` registers the
loaders of this file with MMEngine instead, for local paths and for http(s): weights only, no fallback; ``.safetensors`` too.
"""
import os
import pickle
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors import SafetensorError, safe_open


def load_safetensors(path: str | os.PathLike, device: str = 'cpu') -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a ``.safetensors`` file. ValueError when the file is damaged."""
    try:
        with safe_open(path, framework='pt', device=device) as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f'{path} is not a readable safetensors file ({error}). It may be truncated: copy it again.') from error


def load_local(filename: str, map_location=None) -> dict:
    """Opens a ``.pth``/``.pt`` or ``.safetensors`` file; an adapter file comes back as an MMEngine checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or wants to run code.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'There is no checkpoint {filename}.{_where_to_get(path.name)}')
    if path.suffix == '.safetensors':
        from .apis.adapters import as_checkpoint
        return as_checkpoint(*load_safetensors(path), path)
    try:
        return torch.load(path, map_location=map_location or 'cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{path} holds more than tensors and plain values, so that loading it could run code; it was not loaded. If you trust '
            f'its source, re-save its state dict in an environment of its own: '
            f'safetensors.torch.save_file(state_dict, "weights.safetensors"). ({str(error).splitlines()[0]})') from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f'{path} is not a readable checkpoint ({error}). It may be truncated: copy it again.') from error


def load_http(filename: str, map_location=None) -> dict:
    """Downloads once, with a progress bar, into PyTorch's cache, then opens the file as a local one."""
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(filename).path).name
    if get_local_rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(filename, str(path))
        except OSError as error:
            raise FileNotFoundError(f'Cannot download {filename} ({error}). Download it elsewhere, put it at {path} or '
                                    'name its path in the config (--cfg-options model.checkpoint=PATH).') from error
    barrier()
    return load_local(str(path), map_location)


def _where_to_get(name: str) -> str:
    if name.startswith('sam_vit_'):
        return f' SAM publishes it at https://dl.fbaipublicfiles.com/segment_anything/{name}; that address works in its place.'
    return ''


def register() -> None:
    """Makes MMEngine open local and http(s) checkpoints through this file."""
    CheckpointLoader.register_scheme('', load_local, force=True)
    CheckpointLoader.register_scheme(('http://', 'https://'), load_http, force=True)
