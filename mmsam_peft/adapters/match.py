"""What a model gives to an adapter file, and whether a file belongs to a model."""
import hashlib
import inspect
import json
import os

import torch
from mmengine.config import ConfigDict
from mmengine.registry import Registry
from torch import Tensor, nn

from ..registry import MODELS, PEFT
from ..safe_load import load_safetensors
from ..version import __version__
from .file import FORMAT, as_checkpoint, parse_header, write_adapter


def base_hash(*hosts: nn.Module) -> str:
    """SHA-256 of the frozen weights of what was adapted, by name, in float32.

    The position tables are left out: they are resized to the image size when loaded, and resizing rounds differently from
    machine to machine.
    """
    digest = hashlib.sha256()
    for host in hosts:
        for name, parameter in sorted(host.named_parameters()):
            if not parameter.requires_grad and 'pos_embed' not in name and 'rel_pos' not in name:
                digest.update(name.encode())
                digest.update(parameter.detach().to('cpu', torch.float32).contiguous().numpy())
    return digest.hexdigest()


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """What prediction needs beside the frozen base, under the model's own names, on the CPU: the trained parameters of what was
    adapted and the rest of the decode head."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    base = tuple({'backbone.', *model.adapted})
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
            if (name in trained or not name.startswith(base)) and not name.startswith('weighting.')}


def adapter_header(model: nn.Module, dataset_meta: dict | None = None) -> dict:
    """What an adapter file says of itself. ``dataset_meta`` gives classes and palette."""
    meta = dataset_meta or {}
    return dict(format=FORMAT, version=__version__, arch=_plain(model.backbone.arch), img_size=list(model.backbone.img_size),
                base=base_hash(*(host for host, _ in model.adapted.values())),
                peft=with_defaults(PEFT, model.peft_cfg), head=with_defaults(MODELS, model.head_cfg),
                classes=_plain(meta.get('classes')), palette=_plain(meta.get('palette')))


def save_adapter(model: nn.Module, path: str | os.PathLike, dataset_meta: dict | None = None,
                 header: dict | None = None) -> None:
    """Writes the adapter file of a ``PEFTSegmentor``, complete or not at all."""
    write_adapter(adapter_state(model), header or adapter_header(model, dataset_meta), path)


def load_adapter(model: nn.Module, path: str | os.PathLike) -> None:
    """Loads an adapter file; the base weights come from the model's own ``checkpoint``.

    Raises:
        ValueError: Damaged file; no adapter; made for another base, arch, method or head.
    """
    tensors, metadata = load_safetensors(path)
    parse_header(metadata, path)
    model.load_state_dict(as_checkpoint(tensors, metadata, path)['state_dict'])


def check_adapter(model: nn.Module, header: dict, state: dict[str, Tensor]) -> None:
    """Raises ValueError when an adapter's header or tensors do not belong to ``model``."""
    own, path = adapter_header(model), header.get('path', 'The adapter')
    header = {**header, 'peft': with_defaults(PEFT, header['peft']), 'head': with_defaults(MODELS, header['head'])}

    def require_same(key: str, cure: str) -> None:
        if header[key] != own[key]:
            found, expected = _difference(header[key], own[key])
            raise ValueError(f'{path} was trained on another {key}: the file has {found}, this model {expected}. {cure}')

    require_same('arch', 'Set backbone.arch as found.')
    require_same('img_size', 'Set backbone.img_size as found.')
    require_same('peft', 'Use the config it was trained with.')
    require_same('head', 'Set decode_head as found (num_classes is the class count).')
    trained = adapter_state(model).keys()
    if state.keys() != trained:
        only_file, only_model = (sorted(one - other)[:3] for one, other in ((state.keys(), trained), (trained, state.keys())))
        raise ValueError(f'{path} and this model train different tensors: only the file has {only_file}, only the model '
                         f'{only_model}. Set backbone.unfreeze as in the config it was trained with.')
    require_same('base', 'Set model.checkpoint to the weights it was trained on.')


def with_defaults(registry: Registry, cfg: dict) -> dict:
    """A module's config with its defaults written out, so that neither naming a default nor a new option changes anything."""
    kind = registry.get(cfg['type'])
    if kind is None:  # of another version or package: it will differ from the model's own
        return cfg
    parameters = inspect.signature(kind).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty and not p.name.startswith('loss')}
    cfg = _plain({**defaults, **cfg})
    return {**cfg, 'peft': with_defaults(PEFT, cfg['peft'])} if cfg.get('peft') else cfg


def _plain(value):
    """Configs as JSON gives them back."""
    return json.loads(json.dumps(value.to_dict() if isinstance(value, ConfigDict) else value))


def _difference(found, expected) -> tuple[str, str]:
    """The entries of two dicts that differ, or the values themselves."""
    if not isinstance(found, dict):
        return str(found)[:16], str(expected)[:16]
    keys = [key for key in {**found, **expected} if found.get(key) != expected.get(key)]
    return tuple(', '.join(f'{key}={side.get(key, "(default)")}' for key in keys) for side in (found, expected))
