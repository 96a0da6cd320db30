"""Opening checkpoint files without ever running code from them.

MMEngine tries a weights-only load and silently falls back to unpickling anything. Importing
``mmsam_peft`` puts the functions of this file in its place, for local paths, http(s) and MMEngine's
other schemes: weights only, no fallback; ``.safetensors`` too, and models in several files.
"""

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.runner import checkpoint
from safetensors import SafetensorError, safe_open

from .finite import require_finite
from .hub import SCHEME, fetch

ASSETS = Path(__file__).parent / 'assets'
FOLDER = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)
"""What a folder's model may be called, as Hugging Face's libraries write it."""
PATCHED = ('CheckpointLoader', 'load_from_http', '_safe_torch_load')
"""What of MMEngine's checkpoint module :func:`register` replaces or changes."""


def _as_checkpoint(content: dict, metadata: dict[str, str], path: str | os.PathLike) -> dict:
    """What MMEngine gets of an opened file; :func:`register` sets another."""
    return content


def load_safetensors(
    path: str | os.PathLike, device: str = 'cpu'
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a ``.safetensors`` file. ValueError when the file is damaged,
    or a number in it is NaN or infinite."""
    try:
        with safe_open(path, framework='pt', device=device) as file:
            tensors, metadata = (
                {key: file.get_tensor(key) for key in file.keys()},
                file.metadata() or {},
            )
    except SafetensorError as error:
        raise ValueError(
            f'{path} is not a readable safetensors file ({error}). It may be truncated: copy it '
            'again.'
        ) from error
    _require_finite(tensors, path)
    return tensors, metadata


def load_weights(file: str | os.PathLike | BinaryIO, map_location=None) -> dict:
    """``torch.load`` of tensors and plain values. ValueError when the file is damaged, or wants to
    run code, or a number in it is NaN or infinite, be it a weight or the optimizer's; the log of
    the losses, ``message_hub``, may have any.

    A config inside the file is text; what MMEngine would execute of it is dropped, see
    :func:`_drop_configs`.
    """
    try:
        content = torch.load(_unzipped(file), map_location=map_location or 'cpu', weights_only=True)
    except Exception as error:  # damaged bytes fail in a dozen ways
        if wanted := re.search(r'GLOBAL (\S+)', str(error)):
            message = (
                f'{file} holds more than tensors and plain values ({wanted[1]}), so that loading '
                'it could run code; it '
                'was not loaded. If you trust its source, re-save its state dict in an environment '
                'of its own: '
                'safetensors.torch.save_file(state_dict, "weights.safetensors").'
            )
        else:
            message = (
                f'{file} is not a readable checkpoint of tensors and plain values '
                f'({type(error).__name__}). It may be '
                'truncated: delete it and fetch it again.'
            )
        raise ValueError(
            message
        ) from None  # PyTorch's own advice is to load with weights_only=False
    if not isinstance(content, dict):
        _require_finite(content, file)
        return content
    _require_finite({key: value for key, value in content.items() if key != 'message_hub'}, file)
    _drop_configs(content)
    return _as_checkpoint(content, {}, file)


def _unzipped(file: str | os.PathLike | BinaryIO) -> str | os.PathLike | BinaryIO:
    """What an archive holds of a single checkpoint; any other file as it is."""
    if isinstance(file, str | os.PathLike) and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            found = [
                name
                for name in archive.namelist()
                if re.fullmatch(r'(?!__MACOSX).*\.(pt|pth)', name)
            ]
            if len(found) == 1:
                return io.BytesIO(archive.read(found[0]))
    return file


def _drop_configs(checkpoint: dict) -> None:
    """Drops the texts that MMEngine executes as Python configs: ``meta['config']`` when it resumes,
    the others when an inferencer gets weights without a config."""
    meta, hub = checkpoint.get('meta'), checkpoint.get('message_hub')
    info = hub.get('runtime_info') if isinstance(hub, dict) else None
    for place, key in ((meta, 'config'), (meta, 'cfg'), (info, 'cfg')):
        if isinstance(place, dict):
            place.pop(key, None)


def _require_finite(content, file: str | os.PathLike | BinaryIO) -> None:
    require_finite(
        content,
        str(file),
        'It was not loaded. A training that failed may have written it, or it is damaged: use '
        'an earlier checkpoint, or fetch it again.',
    )


def load_from_local(filename: str, map_location=None) -> dict:
    """Opens a ``.pth``/``.pt`` or ``.safetensors`` file, the ``.index.json`` of a model in several
    files, or the folder of either; an adapter file comes back as an MMEngine checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or wants to run code.
    """
    path = Path(filename).expanduser()
    if path.is_dir():
        path = _model_of(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no checkpoint {filename}.{_where_to_get(filename)}')
    if path.name.endswith('.index.json'):
        return _load_parts(path, map_location)
    if path.suffix == '.safetensors':
        return _as_checkpoint(*load_safetensors(path), path)
    return load_weights(path, map_location)


def _model_of(folder: Path) -> Path:
    """The file that holds a folder's model, or says where its parts are."""
    for name in FOLDER:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f'{folder} is a folder without {", ".join(FOLDER[:-1])} or {FOLDER[-1]}: name the file '
        'with the '
        'weights itself.'
    )


def _load_parts(index: Path, map_location=None) -> dict[str, torch.Tensor]:
    """The tensors of a model in several files beside ``index``, which says what lies where.

    Raises:
        FileNotFoundError: A part is absent.
        ValueError: The index is malformed, names files elsewhere, or tensors that its parts do not
            hold.
    """
    try:
        parts = json.loads(index.read_text())['weight_map']
        names = sorted(set(parts.values()))
        if not names or any(
            name != Path(name).name or not name.endswith(('.safetensors', '.bin')) for name in names
        ):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f'{index} is not the index of a model in several files: it needs a weight_map from the '
            "tensors' "
            'names to .safetensors or .bin files beside it.'
        ) from error
    if absent := [name for name in names if not (index.parent / name).is_file()]:
        raise FileNotFoundError(
            f'{index} names {len(names)} files, of which {len(absent)} are not there: {absent[0]}. '
            'Fetch '
            'them into its folder.'
        )
    state = {}
    for name in names:
        path = index.parent / name
        state.update(
            load_safetensors(path)[0]
            if path.suffix == '.safetensors'
            else load_weights(path, map_location)
        )
    if lacking := sorted(parts.keys() - state.keys()):
        raise ValueError(
            f'{index} names {len(lacking)} tensors that its files do not hold: {lacking[0]}. Fetch '
            'all files of '
            'one version again.'
        )
    return state


def load_from_http(filename: str, map_location=None) -> dict:
    """Downloads once, with a progress bar, into PyTorch's cache, then opens the file as a local
    one."""
    return load_from_local(str(_downloaded(filename)), map_location)


def _downloaded(filename: str) -> Path:
    path = _download_place(filename)
    if get_local_rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(filename, str(path))
        except OSError as error:
            raise FileNotFoundError(
                f'Cannot download {filename} ({error}). Download it elsewhere, put it at {path} or '
                'name its path in the config (--cfg-options model.checkpoint=PATH).'
            ) from error
    barrier()
    return path


def _download_place(url: str) -> Path:
    address = hashlib.sha256(url.encode()).hexdigest()[
        :8
    ]  # Hugging Face names every file model.safetensors
    return Path(torch.hub.get_dir(), 'checkpoints', f'{address}-{Path(urlparse(url).path).name}')


def is_at_hand(filename: str) -> bool:
    """Whether a checkpoint can be opened here and now, without a download."""
    if filename.startswith('mmsam_peft://'):
        return True
    if filename.startswith(SCHEME):
        try:
            return fetch(filename, local_only=True).is_file()
        except (FileNotFoundError, ImportError):
            return False
    path = _download_place(filename) if '://' in filename else Path(filename).expanduser()
    return path.exists()


def load_from_hub(filename: str, map_location=None) -> dict:
    """Opens the weights at an address of Hugging Face's hub, such as
    ``hf://facebook/dinov2-small``."""
    return load_from_local(str(local_weights(filename)), map_location)


def local_weights(name: str | os.PathLike) -> str | os.PathLike:
    """The path of weights that a path or an address names, on which every reader of adapters and
    checkpoints relies: what ``hf://`` and ``http(s)://`` name is downloaded once. Paths, and
    ``mmsam_peft://NAME``, stay as they are.

    Raises:
        ImportError, FileNotFoundError, ValueError: See :func:`hub.fetch`.
    """
    if not isinstance(name, str):
        return name
    if name.startswith(('http://', 'https://')):
        return _downloaded(name)
    if not name.startswith(SCHEME):
        return name
    if get_local_rank() == 0:
        fetch(name)
    barrier()
    return fetch(name)


def load_asset(filename: str, map_location=None) -> dict:
    """Opens weights that come with this package: ``mmsam_peft://quickstart``."""
    return load_from_local(
        str(ASSETS / f'{filename.removeprefix("mmsam_peft://")}.safetensors'), map_location
    )


def _where_to_get(filename: str) -> str:
    name = Path(filename).name
    if name.startswith('sam_vit_'):
        address = f'https://dl.fbaipublicfiles.com/segment_anything/{name}'
        return f' SAM publishes it at {address}; that address works in its place.'
    if re.fullmatch(r'[\w-]+/[\w.-]+', filename) and not Path(filename).suffix:
        return f" A model of Hugging Face's hub is named {SCHEME}{filename}."
    return ''


def register(as_checkpoint: Callable[[dict, dict[str, str], str | os.PathLike], dict]) -> None:
    """Makes MMEngine open every checkpoint through this file.

    Args:
        as_checkpoint: What is made of every opened file, from its content, its metadata and its
            path.

    Raises:
        ImportError: MMEngine no longer has a name that would be replaced: a new one, unguarded,
            would be in its place.
    """
    global _as_checkpoint
    if gone := [name for name in PATCHED if not hasattr(checkpoint, name)]:
        raise ImportError(
            f'mmsam_peft: this version of MMEngine has no {", ".join(gone)} in '
            'mmengine.runner.checkpoint, so '
            'that it may open files in a way that runs code from them. Install onedl-mmengine '
            '0.10.12.'
        )
    _as_checkpoint = as_checkpoint
    checkpoint.CheckpointLoader.register_scheme('', load_from_local, force=True)
    checkpoint.CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)
    checkpoint.CheckpointLoader.register_scheme('mmsam_peft://', load_asset, force=True)
    checkpoint.CheckpointLoader.register_scheme(SCHEME, load_from_hub, force=True)
    checkpoint.load_from_http = load_from_http  # open-mmlab://, torchvision://, mmcls://
    checkpoint._safe_torch_load = load_weights  # files in MMENGINE_HOME, s3://
