"""What a model gives to an adapter file, and whether a file belongs to a model."""

import hashlib
import inspect
import os
from collections.abc import Iterable, Iterator

import torch
from mmengine.registry import Registry
from torch import Tensor, nn

from ..layers.storage import unpacked
from ..peft import PEFTMethod
from ..registry import MODELS, PEFT
from ..version import __version__
from .allowed import find_class
from .file import as_checkpoint, read_adapter, write_adapter
from .frozen import frozen_weights
from .header import FORMAT, parse_header
from .positions import alike, is_table, sketch
from .recipe import base_weights, plain, recipe

BY_BASE = 'base'
"""What ``prompts`` of a head say where the decoder of the base answers."""
ANSWERING = 'decode_head.answering.'
"""The decoder of the base where that answers to prompts; a file that was trained without prompts
knows nothing of it."""


def base_hash(*adapted: tuple[nn.Module, PEFTMethod]) -> str:
    """SHA-256 of the frozen weights of (host, method) pairs, by name, in float32, without position
    tables, of which ``base_positions`` tells. What is frozen is what the method does not train,
    whatever was frozen later."""
    return _hash_of(_frozen(adapted))


def base_positions(*adapted: tuple[nn.Module, PEFTMethod]) -> list[float] | None:
    """What the frozen position tables of (host, method) pairs are, see ``sketch``."""
    return sketch(_frozen(adapted))


def _frozen(adapted: Iterable[tuple[nn.Module, PEFTMethod]]) -> Iterator[tuple[str, Tensor]]:
    for host, method in adapted:
        yield from sorted(frozen_weights(host, method).items())


def is_rounded(model: nn.Module) -> bool:
    """Whether the encoder stores its base in fewer bits."""
    return getattr(model.backbone, 'base_dtype', 'float32') != 'float32'


def base_of(model: nn.Module, *left_out: str) -> str:
    """The base hash of a model, without the hosts of the prefixes ``left_out``: what it has
    recorded where it stores its base in fewer bits, which round the weights, and the hash is that
    of the file's."""
    adapted = {name: pair for name, pair in model.adapted.items() if name not in left_out}
    return model.recorded_base.get(tuple(adapted)) or base_hash(*adapted.values())


def hashes_of_file(
    model: nn.Module, state: dict[str, Tensor], names: dict[str, str]
) -> dict[tuple[str, ...], str]:
    """The base hashes of a model with the encoder's frozen weights as a file has them, by the
    prefixes of the hosts that they are of: all, and those that a file trained without prompts has.

    Args:
        state: The file's tensors.
        names: How it calls the parts of a model: ``{'backbone.': 'image_encoder.'}``.
    """
    every = tuple(model.adapted)
    return {
        hosts: _hash_of(
            (name, state.get(f'{names.get(prefix, prefix)}{name}', value))
            for prefix in hosts
            for name, value in sorted(frozen_weights(*model.adapted[prefix]).items())
        )
        for hosts in {every, tuple(prefix for prefix in every if prefix != ANSWERING)}
    }


def _hash_of(parameters: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, value in parameters:
        if not is_table(name):
            digest.update(name.encode())
            numbers = unpacked(value.detach().cpu())
            digest.update(numbers.to(torch.float32).contiguous().numpy())
    return digest.hexdigest()


def trained_names(model: nn.Module) -> set[str]:
    """The parameters of encoder and adapted decoder that are trained, as injection left it:
    freezing or thawing the model afterwards changes nothing."""
    names = {
        prefix + name
        for prefix, (_, method) in model.adapted.items()
        for name in method.trained_names
    }
    if 'backbone.' not in model.adapted:
        names |= {f'backbone.{name}' for name, _ in model.backbone.named_parameters()}
    return names


def adapter_names(model: nn.Module) -> set[str]:
    """What an adapter file holds: the trained parameters of what was adapted and the rest of the
    decode head, by the model's own names."""
    trained, base = trained_names(model), tuple({'backbone.', *model.adapted})
    return {
        name
        for name in model.state_dict(keep_vars=True)
        if (name in trained or not name.startswith(base)) and not name.startswith('weighting.')
    }


def adapter_state(model: nn.Module, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """What prediction needs beside the frozen base, on the CPU: from ``state``, such as a
    checkpoint's, or by default from the model."""
    state = model.state_dict(keep_vars=True) if state is None else state  # what is trained
    names = adapter_names(model)
    return {
        name: value.detach().cpu().contiguous() for name, value in state.items() if name in names
    }


class OtherBaseError(ValueError):
    """The base weights at hand are not those that an adapter was trained on, or none at all."""


def adapter_header(
    model: nn.Module, dataset_meta: dict | None = None, config: dict | None = None, **about
) -> dict:
    """What an adapter file says of itself.

    Args:
        dataset_meta: Gives classes and palette.
        config: The whole config; by default the model's ``cfg``, where it has one.
        about: Further fields: scores, data, provenance.
    """
    meta = dataset_meta or {}
    config = getattr(model, 'cfg', None) if config is None else config
    return dict(
        format=FORMAT,
        version=__version__,
        **_made_of(model),
        base=base_of(model),
        **_stored(model),
        positions=base_positions(*model.adapted.values()),
        base_weights=base_weights(model),
        classes=plain(meta.get('classes')),
        palette=plain(meta.get('palette')),
        **recipe(model, config),
        **about,
    )


def _stored(model: nn.Module) -> dict:
    """How the base is stored, where it is not in float32, and the hash of what it is then."""
    if not is_rounded(model):
        return {}
    return dict(
        base_dtype=model.backbone.base_dtype, rounded_base=base_hash(*model.adapted.values())
    )


def _made_of(model: nn.Module) -> dict:
    return dict(
        arch=plain(model.backbone.arch),
        img_size=list(model.backbone.img_size),
        pixels=model.pixels.setting(),
        peft=with_defaults(PEFT, model.peft_cfg),
        head=with_defaults(MODELS, model.head_cfg),
    )


def save_adapter(
    model: nn.Module,
    path: str | os.PathLike,
    dataset_meta: dict | None = None,
    config: dict | None = None,
) -> None:
    """Writes the adapter file of a ``PEFTSegmentor``, complete or not at all. With a config, by
    default the model's ``cfg``, the file suffices for prediction."""
    write_adapter(adapter_state(model), adapter_header(model, dataset_meta, config), path)


def load_adapter(model: nn.Module, path: str | os.PathLike) -> None:
    """Loads an adapter file; the base weights come from the model's own ``checkpoint``.

    Raises:
        ValueError: Damaged file; no adapter; made for another base, arch, method or head.
    """
    model.load_state_dict(as_checkpoint(*read_adapter(path), path)['state_dict'])


def check_loaded(
    model: nn.Module, carried: dict, state: dict[str, Tensor], base_at_hand: bool
) -> None:
    """Raises ValueError when an adapter, or a ``.pth`` with a header, does not belong to ``model``.

    A ``.pth`` holds its base itself. It is compared with the model's where ``base_at_hand``, else
    with the hash in the header. A ``.pth`` without a header is of an older version, or of another
    program: it is not checked here, and loads without a word.

    Args:
        carried: What :func:`as_checkpoint` put beside the state dict.
        state: The tensors, by the model's names.
    """
    path, whole = carried['path'], carried['whole']
    header, own = parse_header(carried['header'], path), _made_of(model)
    found = {
        **header,
        'pixels': header.get('pixels') or {},
        'peft': with_defaults(PEFT, header['peft']),
        'head': with_defaults(MODELS, header['head']),
    }
    lent_hosts = () if found['head'].get('prompts') == BY_BASE else (ANSWERING,)
    lent, unused = _lent_prompts(model, found['head'], own['head'])
    for key, cure in (
        ('arch', 'Set backbone.arch as found.'),
        ('img_size', 'Set backbone.img_size as found.'),
        ('pixels', 'Set pixels at the top of the config as found.'),
        ('peft', 'Use the config it was trained with.'),
        ('head', 'Set decode_head as found (num_classes is the class count).'),
    ):
        if found[key] != own[key]:
            there, here = _difference(found[key], own[key])
            tasks = [list(side['head'].get('channels') or ()) for side in (found, own)]
            cure = cure_for_one_task(*tasks) or cure
            raise ValueError(
                f'{path} was trained on another {key}: the file has {there}, this model '
                f'{here}. {cure}'
            )
    expected, names = adapter_names(model), set(header.get('tensors', state)) - unused | lent
    if names != expected:
        only_file, only_model = sorted(names - expected)[:3], sorted(expected - names)[:3]
        raise ValueError(
            f'{path} and this model train different tensors: only the file has '
            f'{only_file}, only the model {only_model}. Set backbone.unfreeze as in the '
            'config it was trained with.'
        )
    if whole:
        _check_own_base(model, header, state, path, base_at_hand)
    elif header['base'] != (base := base_of(model, *lent_hosts)):
        raise OtherBaseError(
            f'{path} was trained on another base: the file has {header["base"][:16]}, '
            f'this model {base[:16]}. Set model.checkpoint to the weights it was '
            'trained on.'
        )
    elif not alike(header.get('positions'), base_positions(*model.adapted.values())):
        raise OtherBaseError(
            f'{path} was trained on another base than this model: their position tables differ. '
            'Set model.checkpoint to the weights it was trained on.'
        )


def _lent_prompts(model: nn.Module, found: dict, own: dict) -> tuple[set[str], set[str]]:
    """The tensors that a model with prompts lends to a file that was trained without; and those of
    a file that was trained with them which a model has no use for where the base's decoder answers.
    The file's head then counts as the model's own."""
    if not own.get('prompts') or found.get('prompts') == own['prompts']:
        return set(), set()
    by_base = own['prompts'] == BY_BASE
    if found.get('prompts') and not by_base:
        return set(), set()
    trained, found['prompts'] = found.get('prompts'), own['prompts']
    names = {f'decode_head.{name}' for name in model.decode_head.prompt_names}
    if by_base and trained:
        answering = model.decode_head.answering.prompt_names
        return set(), {f'decode_head.{name}' for name in answering}
    return names, set()


def cure_for_one_task(found: list[str], own: list[str]) -> str:
    """What to do with weights of the tasks ``found`` in a model of the tasks ``own``, where it was
    trained on one of several; else nothing."""
    if len(found) != 1 or len(own) < 2 or found[0] not in own:
        return ''
    return (
        f'It was trained on {found[0]} alone: give tools/test.py --task {found[0]}; '
        'tools/predict.py, tools/merge_adapter.py and init_model take the task from the adapter '
        'file.'
    )


def _check_own_base(model: nn.Module, header: dict, state: dict, path: str, at_hand: bool) -> None:
    """Whether the frozen weights that a ``.pth`` holds are the model's, or else those it names.
    Where one of the two has them rounded, their hashes are compared."""
    own = model.state_dict()
    frozen = [
        (prefix, name)
        for prefix, (host, method) in model.adapted.items()
        for name in sorted(frozen_weights(host, method))
    ]
    if missing := [
        prefix + name for prefix, name in frozen if not isinstance(state.get(prefix + name), Tensor)
    ]:
        raise ValueError(
            f'{path} is damaged: it lacks {len(missing)} of the frozen weights, such as '
            f'{missing[0]}. Copy it again from where it was written.'
        )
    if not at_hand:
        held = [(name, state[prefix + name]) for prefix, name in frozen]
        known = header.get('rounded_base') or header['base']
        if _hash_of(held) != known or not alike(header.get('positions'), sketch(held)):
            raise ValueError(
                f'{path} is damaged: its frozen weights do not have the hash that its '
                'header names. Copy it again from where it was written.'
            )
        return
    if header.get('base_dtype') or is_rounded(model):
        if header['base'] != (base := base_of(model)):
            raise OtherBaseError(
                f'{path} was trained on another base than this model: the file has '
                f'{header["base"][:16]}, this model {base[:16]}. Set model.checkpoint to the '
                'weights it was trained on.'
            )
        return
    for name in (prefix + name for prefix, name in frozen):
        here, there = own[name], state[name].to(own[name])
        same = alike(sketch([(name, here)]), sketch([(name, there)]))  # True for no table
        if not (same if is_table(name) else here.equal(there)):
            raise OtherBaseError(
                f'{path} was trained on another base than this model: {name} differs. '
                'Set model.checkpoint to the weights it was trained on.'
            )


def with_defaults(registry: Registry, cfg: dict) -> dict:
    """A module's config with its defaults written out, so that neither naming a default nor a new
    option changes anything. The type may come from a file: it is looked up, never imported."""
    cfg = plain(cfg)
    name, kind = find_class(registry, cfg['type'])
    cfg['type'] = name
    if kind is not None:  # else of another version or package: it will differ from the model's own
        parameters = inspect.signature(kind).parameters.values()
        defaults = {
            p.name: p.default
            for p in parameters
            if p.default is not p.empty and not p.name.startswith('loss')
        }
        cfg = {**plain(defaults), **cfg}
    prompts = cfg.pop('prompts', None)
    if prompts not in (None, False):  # how they are trained, a file does not depend on
        cfg['prompts'] = BY_BASE if prompts == BY_BASE else True
    if cfg.get('peft'):
        cfg['peft'] = with_defaults(PEFT, cfg['peft'])
    return cfg


def _difference(found, expected) -> tuple[str, str]:
    """The entries of two dicts that differ, or the values themselves."""
    if not isinstance(found, dict):
        return str(found)[:16], str(expected)[:16]
    keys = [key for key in {**found, **expected} if found.get(key) != expected.get(key)][:6]
    there, here = (
        ', '.join(f'{key}={str(side.get(key, "(default)"))[:60]}' for key in keys)
        for side in (found, expected)
    )
    return there, here
