"""Opening checkpoint files without ever running code from them.

MMEngine tries a weights-only load and silently falls back to unpickling anything. Importing ``mmsam_peft`` puts the functions
of this file in its place, for local paths, http(s) and MMEngine's other schemes: weights only, no fallback; ``.safetensors``
too.
"""
import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.runner import checkpoint
from safetensors import SafetensorError, safe_open

from .finite import require_finite

ASSETS = Path(__file__).parent / 'assets'


def load_safetensors(path: str | os.PathLike, device: str = 'cpu') -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a ``.safetensors`` file. ValueError when the file is damaged, or a number in it is NaN or
    infinite."""
    try:
        with safe_open(path, framework='pt', device=device) as file:
            tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f'{path} is not a readable safetensors file ({error}). It may be truncated: copy it again.') from error
    _require_finite(tensors, path)
    return tensors, metadata


def load_weights(file: str | os.PathLike | BinaryIO, map_location=None) -> dict:
    """``torch.load`` of tensors and plain values. ValueError when the file is damaged, or wants to run code, or a number in it
    is NaN or infinite, be it a weight or the optimizer's; the log of the losses, ``message_hub``, may have any.

    ``meta['config']`` is dropped: MMEngine would execute it as a Python config when it resumes.
    """
    try:
        content = torch.load(file, map_location=map_location or 'cpu', weights_only=True)
    except Exception as error:  # damaged bytes fail in a dozen ways
        if wanted := re.search(r'GLOBAL (\S+)', str(error)):
            message = (f'{file} holds more than tensors and plain values ({wanted[1]}), so that loading it could run code; it '
                       'was not loaded. If you trust its source, re-save its state dict in an environment of its own: '
                       'safetensors.torch.save_file(state_dict, "weights.safetensors").')
        else:
            message = (f'{file} is not a readable checkpoint of tensors and plain values ({type(error).__name__}). It may be '
                       'truncated: delete it and fetch it again.')
        raise ValueError(message) from None  # PyTorch's own advice is to load with weights_only=False
    weights = content
    if isinstance(content, dict):
        if isinstance(content.get('meta'), dict):
            content['meta'].pop('config', None)
        weights = {key: value for key, value in content.items() if key != 'message_hub'}
    _require_finite(weights, file)
    return content


def _require_finite(content, file: str | os.PathLike | BinaryIO) -> None:
    require_finite(content, str(file), 'It was not loaded. A training that failed may have written it, or it is damaged: use '
                   'an earlier checkpoint, or fetch it again.')


def load_from_local(filename: str, map_location=None) -> dict:
    """Opens a ``.pth``/``.pt`` or ``.safetensors`` file; an adapter file comes back as an MMEngine checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or wants to run code.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'There is no checkpoint {filename}.{_where_to_get(path.name)}')
    if path.suffix == '.safetensors':
        from .adapters.file import as_checkpoint
        return as_checkpoint(*load_safetensors(path), path)
    return load_weights(path, map_location)


def load_from_http(filename: str, map_location=None) -> dict:
    """Downloads once, with a progress bar, into PyTorch's cache, then opens the file as a local one."""
    address = hashlib.sha256(filename.encode()).hexdigest()[:8]  # Hugging Face names every file model.safetensors
    path = Path(torch.hub.get_dir(), 'checkpoints', f'{address}-{Path(urlparse(filename).path).name}')
    if get_local_rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(filename, str(path))
        except OSError as error:
            raise FileNotFoundError(f'Cannot download {filename} ({error}). Download it elsewhere, put it at {path} or '
                                    'name its path in the config (--cfg-options model.checkpoint=PATH).') from error
    barrier()
    return load_from_local(str(path), map_location)


def load_asset(filename: str, map_location=None) -> dict:
    """Opens weights that come with this package: ``mmsam_peft://quickstart``."""
    return load_from_local(str(ASSETS / f'{filename.removeprefix("mmsam_peft://")}.safetensors'), map_location)


def _where_to_get(name: str) -> str:
    if name.startswith('sam_vit_'):
        return f' SAM publishes it at https://dl.fbaipublicfiles.com/segment_anything/{name}; that address works in its place.'
    return ''


def register() -> None:
    """Makes MMEngine open every checkpoint through this file."""
    checkpoint.CheckpointLoader.register_scheme('', load_from_local, force=True)
    checkpoint.CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)
    checkpoint.CheckpointLoader.register_scheme('mmsam_peft://', load_asset, force=True)
    checkpoint.load_from_http = load_from_http  # open-mmlab://, torchvision://, mmcls://
    checkpoint._safe_torch_load = load_weights  # files in MMENGINE_HOME, s3://
