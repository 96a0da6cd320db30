"""What would go wrong in a run long after its start, or without a word, by its settings alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.evaluator import BaseMetric
from mmseg.datasets import BaseSegDataset
from mmseg.models import EncoderDecoder
from mmseg.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss, TverskyLoss
from torch import nn
from torch.utils.data import DataLoader

from ..datasets.checks.dataset import inner_datasets
from ..models.segmentors import PEFTSegmentor
from ..tasks.base import IGNORE

ONE_HOT_LOSSES = (DiceLoss, FocalLoss, TverskyLoss)
"""They take a single channel for the background's: such a model would find what is not there."""


def check_config(cfg: Config) -> None:
    """Looks at the loaders and the sliding window of a config, before anything is built.

    Raises:
        ValueError: names the setting and what to do.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if isinstance(cfg.get(name), Mapping):
            _check_loader(name, cfg[name])
    for name in ('model', 'tta_model'):
        _check_window(f'{name}.test_cfg', (cfg.get(name) or {}).get('test_cfg') or {})


def _check_loader(name: str, loader: Mapping) -> None:
    batch, workers = loader.get('batch_size', 1), loader.get('num_workers', 0)
    ahead = loader.get('prefetch_factor')
    if not _is_whole(batch, least=1):
        raise ValueError(
            f'{name}.batch_size={batch}: expected a whole number of images, at least 1.'
        )
    if not _is_whole(workers, least=0):
        raise ValueError(
            f'{name}.num_workers={workers}: expected a whole number of processes, 0 for none.'
        )
    if workers == 0 and loader.get('persistent_workers'):
        raise ValueError(
            f'{name} has num_workers=0 and persistent_workers=True, but there are no '
            f'workers to keep: set {name}.persistent_workers=False too.'
        )
    if workers == 0 and ahead is not None:
        raise ValueError(
            f'{name} has num_workers=0 and prefetch_factor={ahead}, but there are no '
            f'workers to read ahead: set {name}.prefetch_factor=None too.'
        )


def _check_window(name: str, test_cfg: Mapping) -> None:
    if test_cfg.get('mode') != 'slide':
        return
    crop, stride = test_cfg.get('crop_size'), test_cfg.get('stride')
    for key, value in dict(crop_size=crop, stride=stride).items():
        two = isinstance(value, Sequence) and len(value) == 2
        if not two or not all(_is_whole(side, least=1) for side in value):
            raise ValueError(
                f"{name} has mode='slide' and {key}={value}: expected two whole "
                'numbers of pixels, (height, width).'
            )
    if any(step > side for step, side in zip(stride, crop, strict=True)):
        raise ValueError(
            f'{name}.stride={tuple(stride)} is above crop_size={tuple(crop)}: pixels '
            'between the windows would have no prediction. Set stride to at most '
            'crop_size; two thirds of it is usual.'
        )


def _is_whole(value, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_length(loader: DataLoader, split: str, training: bool) -> None:
    """Raises ValueError where ``drop_last`` leaves nothing to train on, or images out of a
    score."""
    images, batch = len(loader.dataset), loader.batch_size
    if not loader.drop_last or isinstance(loader.sampler, InfiniteSampler):
        return
    if training and not len(loader):
        processes = getattr(loader.sampler, 'world_size', 1)
        raise ValueError(
            f'{split}_dataloader has drop_last=True and batch_size={batch}, but only '
            f'{images} images for {processes} process{"es" * (processes > 1)}: there '
            'is no whole batch to train on. Set batch_size to less, or '
            'drop_last=False.'
        )
    if not training and len(loader.sampler) % batch:
        raise ValueError(
            f'{split}_dataloader has drop_last=True, which leaves images out of the '
            f'score: {images} images, batch_size={batch}. Set drop_last=False.'
        )


@torch.no_grad()
def check_channels(model: nn.Module) -> None:
    """Raises ValueError where a head of MMSegmentation's is made for maps of other numbers of
    channels than its encoder gives; found out by a small image, without a mark on the model."""
    if not isinstance(model, EncoderDecoder) or isinstance(model, PEFTSegmentor):
        return
    device, training = (
        next(model.parameters()).device,
        [part for part in model.modules() if part.training],
    )
    model.eval()  # batch norms keep their statistics
    try:
        maps = model.extract_feat(torch.zeros(1, 3, 64, 64, device=device))
    except Exception:  # such as an encoder for one size; the first step tells
        return
    finally:
        for part in training:
            part.training = True
    for where, head in _heads(model):
        if (fault := _channels_fault(head, [one.shape[1] for one in maps])) is not None:
            raise ValueError(
                f'{where} has {fault}, but the encoder, {type(model.backbone).__name__}, gives '
                f'maps of {", ".join(str(one.shape[1]) for one in maps)} channels: set {where}.'
                'in_channels and in_index to what it gives.'
            )


def _channels_fault(head: nn.Module, given: list[int]) -> str | None:
    """What a head expects, where it is not what it gets of maps of so many channels."""
    taken, expected = getattr(head, 'in_index', None), getattr(head, 'in_channels', None)
    how = getattr(head, 'input_transform', None)
    if taken is None or expected is None or how not in (None, 'resize_concat', 'multiple_select'):
        return None
    places = list(taken) if isinstance(taken, Sequence) else [taken]
    if any(not -len(given) <= place < len(given) for place in places):
        return f'in_index={taken}'
    found = [given[place] for place in places]
    if how == 'multiple_select':
        return None if found == list(expected) else f'in_channels={list(expected)}'
    return None if sum(found) == expected else f'in_channels={expected}'


def check_losses(model: nn.Module) -> None:
    """Raises ValueError where a loss does not fit its head's number of channels."""
    for where, head in _heads(model):
        for loss in _losses(head):
            _check_loss(f'{where}.loss_decode {type(loss).__name__}', loss, head.out_channels)


def _check_loss(name: str, loss: nn.Module, channels: int) -> None:
    if channels == 1 and isinstance(loss, CrossEntropyLoss) and not loss.use_sigmoid:
        raise ValueError(
            f'{name} compares classes, but the head has one channel: set use_sigmoid=True.'
        )
    if channels == 1 and isinstance(loss, ONE_HOT_LOSSES):
        raise ValueError(
            f'{name} needs a channel for each class, but the head has one: use '
            "dict(type='DiceBCELoss'), dict(type='StructureLoss') or "
            "dict(type='CrossEntropyLoss', use_sigmoid=True)."
        )
    weights = getattr(loss, 'class_weight', None)
    if isinstance(weights, Sequence) and len(weights) != channels:
        has, expected = f'{channels} channels', f'{channels}, one for each class'
        if channels == 1:
            has, expected = 'one channel', 'one number, the weight of the object'
        raise ValueError(
            f'{name} has a class_weight of {len(weights)} numbers, but the head has '
            f'{has}: expected {expected}, or none.'
        )


def check_prompts(model: nn.Module) -> None:
    """Raises ValueError where a config asks for a prompt encoder to be trained, and no loss reaches
    it: that trains nothing."""
    for where, head in _heads(model):
        if getattr(head, 'train_encoder', False) and head.prompt_loss is None:
            raise ValueError(
                f'{where}.prompts.train_encoder=True, but nothing is trained on prompts, so that '
                'the prompt encoder would stay as it is. Set prompts at the top of the config too, '
                'such as prompts=dict(box=0.5, point=0.3, none=0.2, rounds=4), or leave '
                'train_encoder out.'
            )


def check_ignored(
    model: nn.Module, loaders: Mapping[str, DataLoader], metrics: Iterable[BaseMetric]
) -> None:
    """Raises ValueError unless data, padding, heads, losses and metrics have one number for ignored
    pixels, and one that is no class: masks of 8 bits have none where there are 256.

    For models whose labels are class numbers; those of several tasks always have 255.
    """
    said = _of_model(model)
    for split, loader in loaders.items():
        for part in inner_datasets(loader.dataset):
            if isinstance(part, BaseSegDataset):
                said += _of_dataset(f'{split}_dataloader', part)
    for metric in metrics:
        said += _attribute(f'evaluator {type(metric).__name__}', metric, 'ignore_index')
    places: dict[int, list[str]] = {}
    for place, number in dict.fromkeys(said):
        places.setdefault(number, []).append(place)
    if len(places) > 1:
        listed = '; '.join(f'{number}: {", ".join(where)}' for number, where in places.items())
        raise ValueError(
            'ignored pixels have several numbers, so that some would be trained on or '
            f'scored as a class. {listed}. Set one number everywhere, 255 unless it '
            'is a class.'
        )
    if IGNORE in places and model.num_classes > IGNORE:
        raise ValueError(
            f'the model has {model.num_classes} classes, expected {IGNORE} at most: the number '
            f'{IGNORE} says that a pixel is ignored, so that this class would neither be trained '
            'nor scored. Join classes, or leave some out.'
        )


def _of_model(model: nn.Module) -> list[tuple[str, int]]:
    said = _attribute('model.data_preprocessor', model.data_preprocessor, 'seg_pad_val')
    for where, head in _heads(model):
        said += _attribute(where, head, 'ignore_index')
        for loss in _losses(head):
            name = f'{where}.loss_decode {type(loss).__name__}'
            said += _attribute(name, loss, 'ignore_index')
    return said


def _of_dataset(loader: str, dataset: BaseSegDataset) -> list[tuple[str, int]]:
    said = _attribute(f'{loader}.dataset', dataset, 'ignore_index')
    for step in dataset.pipeline.transforms:
        where = f'{type(step).__name__} in the pipeline of {loader}'
        said += _attribute(where, step, 'ignore_index') + _attribute(where, step, 'seg_pad_val')
        padding = getattr(step, 'pad_val', None)  # MMCV's Pad: of the image and of the mask
        if isinstance(padding, Mapping) and 'seg' in padding:
            said.append((f'pad_val of {where}', padding['seg']))
    return said


def _attribute(where: str, thing, name: str) -> list[tuple[str, int]]:
    value = getattr(thing, name, None)
    return [] if value is None else [(f'{name} of {where}', value)]


def _heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name in ('decode_head', 'auxiliary_head'):
        heads = getattr(model, name, None)
        for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
            if hasattr(head, 'loss_decode'):
                yield f'model.{name}', head


def _losses(head: nn.Module) -> list[nn.Module]:
    losses = head.loss_decode
    return list(losses) if isinstance(losses, nn.ModuleList) else [losses]
