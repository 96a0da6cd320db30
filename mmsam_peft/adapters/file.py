"""The format of an adapter file: what was trained, and nothing else, in one small ``.safetensors`` with a header that says
where it belongs. Nothing here knows a model."""
import json
import os
from collections import OrderedDict

from safetensors.torch import save_file
from torch import Tensor

from ..safe_load import load_safetensors
from ..whole_files import whole_file

ADAPTER = 'mmsam_peft_adapter'
"""Where a file's metadata, and a state dict's, carries the header."""
FORMAT = 1


def write_adapter(tensors: dict[str, Tensor], header: dict, path: str | os.PathLike) -> None:
    """Writes the adapter file, complete or not at all."""
    with whole_file(path) as unfinished:
        save_file(tensors, unfinished, {ADAPTER: json.dumps(header)})
        unfinished.chmod(0o644)  # safetensors keeps its files to their owner


def readparse_header(path: str | os.PathLike) -> dict:
    """The header of an adapter file. ValueError when the file is damaged or no adapter."""
    return parse_header(load_safetensors(path)[1], path)


def read_header(path: str | os.PathLike) -> dict:
    """The header of an adapter file. ValueError when the file is damaged or no adapter."""
    return parse_header(load_safetensors(path)[1], path)


def as_checkpoint(tensors: dict[str, Tensor], metadata: dict[str, str], path: str | os.PathLike) -> dict:
    """A ``.safetensors`` file's content as what MMEngine expects of a checkpoint.

    Of an adapter file the header travels in the state dict's metadata, to be checked by the model that loads it.
    """
    if ADAPTER not in metadata:
        return tensors
    header = parse_header(metadata, path)
    state = OrderedDict(tensors)
    state._metadata = OrderedDict({'': {ADAPTER: {**header, 'path': str(path)}}})
    return dict(state_dict=state, meta=dict(dataset_meta=dict(classes=header['classes'], palette=header['palette'])))


def parse_header(metadata: dict[str, str], path: str | os.PathLike) -> dict:
    if ADAPTER not in metadata:
        raise ValueError(f'{path} is not an adapter of mmsam_peft: its metadata has no {ADAPTER!r}. Base weights belong in '
                         'model.checkpoint.')
    header = json.loads(metadata[ADAPTER])
    if header['format'] > FORMAT:
        raise ValueError(f'{path} has adapter format {header["format"]} (mmsam_peft {header["version"]}), this version reads '
                         f'up to {FORMAT}: upgrade mmsam_peft.')
    return header
