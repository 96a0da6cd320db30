"""The format of an adapter file: what was trained, and nothing else, in one small ``.safetensors``
with a header that says where it belongs. ``.pth`` checkpoints carry the same header. Nothing here
knows a model."""

import json
import os
from collections import OrderedDict

from safetensors.torch import save_file
from torch import Tensor

from ..finite import require_finite
from ..hashing import hash_tensors
from ..safe_load import load_safetensors, local_weights
from ..whole_files import whole_file
from .apart import APART
from .header import ADAPTER, parse_header


def sealed(header: dict, tensors: dict[str, Tensor]) -> dict:
    """The header with the tensors' names and a hash of everything: a changed byte shows."""
    header = {**json.loads(json.dumps(header)), 'tensors': sorted(tensors)}
    return {**header, 'sha256': digest(header, tensors)}


def digest(header: dict, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of a header without its ``sha256``, and of names, dtypes, shapes and bytes."""
    rest = {key: value for key, value in header.items() if key != 'sha256'}
    return hash_tensors(tensors, json.dumps(rest, sort_keys=True).encode()).hexdigest()


def check_digest(header: dict, content: dict, path: str | os.PathLike) -> None:
    """Raises ValueError when the tensors that the header names are not those that were written.
    Format 1 has no hash."""
    if header['format'] > 1:
        tensors = {name: content.get(name) for name in header['tensors']}
        if (
            not all(isinstance(tensor, Tensor) for tensor in tensors.values())
            or digest(header, tensors) != header['sha256']
        ):
            raise ValueError(
                f'{path} is damaged: its content does not have the hash that its header '
                'names. Copy it again from where it was written.'
            )


def write_adapter(tensors: dict[str, Tensor], header: dict, path: str | os.PathLike) -> None:
    """Writes the adapter file, complete or not at all.

    Raises:
        ValueError: A header that no reader takes; a number in the tensors is NaN or infinite. A
            file of this name stays as it is.
    """
    text = json.dumps(sealed(header, tensors))
    parse_header(text, path)
    require_finite(
        tensors, f'The adapter for {path}', 'It was not written. Use an earlier checkpoint.'
    )
    with whole_file(path) as unfinished:
        save_file(tensors, unfinished, {ADAPTER: text})
        unfinished.chmod(0o644)  # safetensors keeps its files to their owner


def read_adapter(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of an adapter file, or of what an address names. ValueError when it is
    damaged or no adapter."""
    path = local_weights(path)
    tensors, metadata = load_safetensors(path)
    if ADAPTER not in metadata:
        raise ValueError(
            f'{path} is not an adapter of mmsam_peft: its metadata has no {ADAPTER!r}. '
            'Base weights belong in model.checkpoint.'
        )
    check_digest(parse_header(metadata[ADAPTER], path), tensors, path)
    return tensors, metadata


def read_header(path: str | os.PathLike) -> dict:
    """The header of an adapter file. ValueError when the file is damaged or no adapter."""
    return parse_header(read_adapter(path)[1][ADAPTER], path)


def as_checkpoint(content: dict, metadata: dict[str, str], path: str | os.PathLike) -> dict:
    """What MMEngine gets of an opened file: an adapter file as a checkpoint, a ``.pth`` with its
    header where the model sees it, everything else as it is.

    Between opening a file and the model MMEngine hands on the state dict alone, so the header
    travels in the state dict's metadata, as ``dict(header=TEXT, path=..., whole=...)``.

    Args:
        content: Tensors by name, or what ``torch.save`` was given.
        metadata: That of a ``.safetensors`` file.

    Raises:
        ValueError: The header is malformed, or the file damaged.
    """
    if ADAPTER in metadata:
        header = parse_header(metadata[ADAPTER], path)
        check_digest(header, content, path)
        state = _with_header(content, metadata[ADAPTER], path, whole=False)
        return dict(
            state_dict=state,
            meta=dict(dataset_meta=dict(classes=header['classes'], palette=header['palette'])),
        )
    meta, state = content.get('meta'), content.get('state_dict')
    if isinstance(meta, dict) and ADAPTER in meta and isinstance(state, dict):
        check_digest(parse_header(meta[ADAPTER], path), state, path)
        content['state_dict'] = _with_header(state, meta[ADAPTER], path, whole=APART not in meta)
    return content


def _with_header(tensors: dict, text: str, path: str | os.PathLike, whole: bool) -> OrderedDict:
    state = OrderedDict(tensors)
    state._metadata = OrderedDict(getattr(tensors, '_metadata', {}))
    state._metadata[''] = {
        **state._metadata.get('', {}),
        ADAPTER: dict(header=text, path=str(path), whole=whole),
    }
    return state


def carried_header(local_metadata: object) -> dict | None:
    """What :func:`as_checkpoint` put into a state dict's metadata, if anything: a file can hold
    metadata of its own."""
    found = local_metadata.get(ADAPTER) if isinstance(local_metadata, dict) else None
    kinds = dict(header=str, path=str, whole=bool)
    if isinstance(found, dict) and all(
        isinstance(found.get(key), kind) for key, kind in kinds.items()
    ):
        return found
    return None
