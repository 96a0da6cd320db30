"""What would go wrong in a run long after its start, or without a word: found by its settings
before the first step."""
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.evaluator import BaseMetric
from mmseg.datasets import BaseSegDataset
from mmseg.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss, TverskyLoss
from torch import nn
from torch.utils.data import DataLoader

from ..datasets.checks.dataset import inner_datasets

ONE_HOT_LOSSES = (DiceLoss, FocalLoss, TverskyLoss)
"""Of a single channel these make the background's: trained with them, a model of one channel finds
what is not there."""


def check_config(cfg: Config) -> None:
    """Looks at the loaders and the sliding window of a config, before anything is built.

    Raises:
        ValueError: names the setting and what to do.
    """
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if isinstance(loader, Mapping):
            _check_loader(f'{split}_dataloader', loader)
    for where in ('model', 'tta_model'):
        _check_window(f'{where}.test_cfg', (cfg.get(where) or {}).get('test_cfg') or {})


def _check_loader(name: str, loader: Mapping) -> None:
    batch, workers = loader.get('batch_size', 1), loader.get('num_workers', 0)
    if not _whole(batch) or batch < 1:
        raise ValueError(f'{name}.batch_size={batch}: expected a whole number of images, at least 1.')
    if not _whole(workers) or workers < 0:
        raise ValueError(f'{name}.num_workers={workers}: expected a whole number of processes, 0 for none.')
    if workers == 0 and loader.get('persistent_workers'):
        raise ValueError(f'{name} has num_workers=0 and persistent_workers=True, but there are no workers to keep: set '
                         f'{name}.persistent_workers=False too.')
    if workers == 0 and loader.get('prefetch_factor') is not None:
        raise ValueError(f'{name} has num_workers=0 and prefetch_factor={loader["prefetch_factor"]}, but there are no workers '
                         f'to read ahead: set {name}.prefetch_factor=None too.')


def _whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_window(name: str, test_cfg: Mapping) -> None:
    if test_cfg.get('mode') != 'slide':
        return
    sides = {key: test_cfg.get(key) for key in ('crop_size', 'stride')}
    for key, value in sides.items():
        if not isinstance(value, Sequence) or len(value) != 2 or not all(_whole(side) and side > 0 for side in value):
            raise ValueError(f"{name} has mode='slide' and {key}={value}: expected two whole numbers of pixels, (height, width).")
    if any(step > side for step, side in zip(sides['stride'], sides['crop_size'], strict=True)):
        raise ValueError(f'{name}.stride={tuple(sides["stride"])} is above crop_size={tuple(sides["crop_size"])}: pixels between '
                         'the windows would have no prediction. Set stride to at most crop_size; two thirds of it is usual.')


def check_length(loader: DataLoader, split: str, training: bool) -> None:
    """Raises ValueError where ``drop_last`` leaves nothing to train on, or images out of a
    score."""
    images, batches = len(loader.dataset), len(loader)
    if not loader.drop_last or isinstance(loader.sampler, InfiniteSampler):
        return
    if training and not batches:
        raise ValueError(f'{split}_dataloader has drop_last=True and batch_size={loader.batch_size}, but only {images} images for '
                         f'{_processes(loader)}: there is no whole batch to train on. Set batch_size to less, or '
                         'drop_last=False.')
    if not training and len(loader.sampler) % loader.batch_size:
        raise ValueError(f'{split}_dataloader has drop_last=True, which leaves images out of the score: {images} images, '
                         f'batch_size={loader.batch_size}. Set drop_last=False.')


def _processes(loader: DataLoader) -> str:
    number = getattr(loader.sampler, 'world_size', 1)
    return f'{number} processes' if number > 1 else 'one process'


def check_losses(model: nn.Module) -> None:
    """Raises ValueError where a loss does not fit its head's number of channels."""
    for where, head in _heads(model):
        for loss in _losses(head):
            name, channels = f'{where}.loss_decode {type(loss).__name__}', head.out_channels
            weights = getattr(loss, 'class_weight', None)
            if channels == 1 and isinstance(loss, CrossEntropyLoss) and not loss.use_sigmoid:
                raise ValueError(f'{name} compares classes, but the head has one channel: set use_sigmoid=True.')
            if channels == 1 and isinstance(loss, ONE_HOT_LOSSES):
                raise ValueError(f'{name} needs a channel for each class, but the head has one: use dict(type=\'DiceBCELoss\'), '
                                 "dict(type='StructureLoss') or dict(type='CrossEntropyLoss', use_sigmoid=True).")
            if weights is not None and len(weights) != channels:
                expected = 'one number, the weight of the object' if channels == 1 else f'{channels}, one for each class'
                raise ValueError(f'{name} has a class_weight of {len(weights)} numbers, but the head has '
                                 f'{"one channel" if channels == 1 else f"{channels} channels"}: expected {expected}, or none.')


def check_ignored(model: nn.Module, loaders: Mapping[str, DataLoader], metrics: Iterable[BaseMetric]) -> None:
    """Raises ValueError unless data, padding, heads, losses and metrics agree on the number of
    ignored pixels.

    For models whose labels are class numbers; those of several tasks have one number, 255.
    """
    said = [item for where, head in _heads(model) for item in _of_head(where, head)]
    said += _attributes('model.data_preprocessor', model.data_preprocessor, 'seg_pad_val')
    for split, loader in loaders.items():
        for part in inner_datasets(loader.dataset):
            if isinstance(part, BaseSegDataset):
                said += _attributes(f'{split}_dataloader.dataset', part, 'ignore_index')
                for step in part.pipeline.transforms:
                    said += _of_transform(f'{type(step).__name__} in the pipeline of {split}_dataloader', step)
    for metric in metrics:
        said += _attributes(f'evaluator {type(metric).__name__}', metric, 'ignore_index')
    numbers = dict.fromkeys(value for _, value in said)
    if len(numbers) > 1:
        lines = '; '.join(f'{value}: {", ".join(dict.fromkeys(where for where, one in said if one == value))}' for value in numbers)
        raise ValueError(f'ignored pixels have several numbers, so that some would be trained on or scored as a class. {lines}. '
                         'Set one number everywhere, 255 unless it is a class.')


def _of_head(where: str, head: nn.Module) -> list[tuple[str, int]]:
    said = _attributes(where, head, 'ignore_index')
    for loss in _losses(head):
        said += _attributes(f'{where}.loss_decode {type(loss).__name__}', loss, 'ignore_index')
    return said


def _of_transform(where: str, step) -> list[tuple[str, int]]:
    padding = getattr(step, 'pad_val', None)
    padded = [(f'pad_val of {where}', padding['seg'])] if isinstance(padding, Mapping) and 'seg' in padding else []
    return _attributes(where, step, 'ignore_index') + _attributes(where, step, 'seg_pad_val') + padded


def _attributes(where: str, thing, name: str) -> list[tuple[str, int]]:
    value = getattr(thing, name, None)
    return [] if value is None else [(f'{name} of {where}', value)]


def _heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name in ('decode_head', 'auxiliary_head'):
        heads = getattr(model, name, None)
        for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
            if head is not None and hasattr(head, 'loss_decode'):
                yield f'model.{name}', head


def _losses(head: nn.Module) -> list[nn.Module]:
    return list(head.loss_decode) if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
