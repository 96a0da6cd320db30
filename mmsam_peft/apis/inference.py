"""From an adapter, with or without a config, to a model ready to predict."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.apis import MMSegInferencer
from mmseg.apis import init_model as mmseg_init_model
from mmseg.structures import SegDataSample
from torch import nn

from ..adapters.header import ADAPTER
from ..models.segmentors import PEFTSegmentor
from ..registry import DATASETS, MODELS, SCOPE
from ..safe_load import load_safetensors, local_weights
from .configs import own_config
from .from_header import build_from_header, is_weights
from .merging import merged_model
from .overrides import apply_overrides
from .pipelines import type_name
from .settings import check_settings
from .single_task import keep_trained_task
from .trained_pixels import keep_trained_pixels


def init_model(
    config: str | Path | Config | None,
    weights: str | os.PathLike | None = None,
    device: str | None = None,
    cfg_options: dict | None = None,
    merge: bool | float = False,
    task: str | None = None,
    checkpoint: str | None = None,
    base: bool = False,
) -> nn.Module:
    """A model ready to predict: ``init_model(config, weights)``, or ``init_model(adapter)``, which
    needs no config.

    Args:
        config: Path or config; or, without ``weights``, an adapter file or ``.pth`` checkpoint with
            a header, from which the model is built.
        weights: An adapter file, whose base weights come from the config's ``model.checkpoint``, or
            a ``.pth`` checkpoint; either may be on Hugging Face's hub,
            ``hf://OWNER/NAME[/FILE][@REVISION]``. None leaves the decode head as the base
            checkpoint has it.
        device: By default the GPU where there is one.
        merge: Fold the adapters into the base weights: the model then is a plain one, of a plain
            one's speed. Predictions differ by rounding, so that single pixels on the edge of a mask
            may.
        task: With ``merge``, whose model to make, where the method adapts the encoder for each
            task.
        checkpoint: The base weights, in place of the config's or of a search by name and hash.
        base: Without a config: look for the base weights of a ``.pth`` too, which it holds itself
            but for what a model does not use.

    Raises:
        FileNotFoundError, ValueError: No such file; damaged; made for another model; a method or
            task that does not merge; a file that does not suffice without a config.
    """
    if is_weights(config):
        if weights is not None:
            raise ValueError(
                f'got the weights {config} and {weights}: give a config and weights, or an adapter '
                'file alone, and its base weights as checkpoint.'
            )
        config, weights = None, config
    weights = local_weights(weights) if weights else weights
    if config is None:
        options = dict(cfg_options or {})
        checkpoint = checkpoint or options.pop('model.checkpoint', None)
        return build_from_header(
            weights,
            lambda found: init_model(found, weights, device, options, merge, task),
            checkpoint,
            base,
        )
    config = own_config(config)
    apply_overrides(config, cfg_options, also_read=['test_pipeline'])
    if checkpoint:
        config.model.checkpoint = checkpoint
    require_adaptable(config, weights)
    keep_trained_task(config, weights)
    keep_trained_pixels(config, weights)
    check_settings(config)
    init_default_scope(config.setdefault('default_scope', SCOPE))
    model = mmseg_init_model(config, str(weights) if weights else None, default_device(device))
    if weights is None and isinstance(model, PEFTSegmentor):
        model.load_base()
    if not getattr(model, 'dataset_meta', None):
        model.dataset_meta = DATASETS.build(
            {**config.test_dataloader.dataset, 'lazy_init': True}
        ).metainfo
    if merge is not False and isinstance(model, PEFTSegmentor):
        return merged_model(model, task, float(merge))
    return model


@torch.no_grad()
def inference_model(
    model: nn.Module, images: str | Path | np.ndarray | Sequence
) -> SegDataSample | list[SegDataSample]:
    """Predicts one image, or a list of images in one batch; the model's config stays as it is.

    Args:
        images: Paths, or arrays as OpenCV reads them: BGR, (H, W, 3), 0 to 255; grey ones, and
            those with alpha, are taken as such files are.

    Raises:
        FileNotFoundError, ValueError: No such file; an array that is no such image.
        TypeError: Something else than a path or an array.
    """
    several = isinstance(images, list | tuple)
    packed = []
    for image in images if several else [images]:
        if isinstance(image, np.ndarray):
            packed.append(pipeline_of(model, from_array=True)(dict(img=image)))
        elif isinstance(image, str | os.PathLike):
            packed.append(pipeline_of(model)(dict(img_path=str(image))))
        else:
            raise TypeError(
                f'got an image of type {type(image).__name__}, expected a path or a NumPy array in '
                'BGR, '
                'height x width x 3.'
            )
    results = model.test_step(
        {key: [one[key] for one in packed] for key in ('inputs', 'data_samples')}
    )
    return results if several else results[0]


def pipeline_of(model: nn.Module, from_array: bool = False) -> Compose:
    """The test pipeline of the model's config, without labels; ``from_array``: for images in
    memory."""
    first, *others = (dict(step) for step in model.cfg.test_pipeline)
    if from_array:
        first['type'] = 'LoadImageFromNDArray'
    return Compose([first] + [step for step in others if type_name(step) != 'LoadAnnotations'])


def inferencer(
    config: str | Config,
    weights: str | None = None,
    device: str | None = None,
    checkpoint: str | None = None,
    **kwargs,
) -> MMSegInferencer:
    """MMSegmentation's inferencer in our scope; its own default scope knows none of our modules.
    Config, weights and checkpoint as for ``init_model``: an adapter file suffices."""
    if weights is None and is_weights(config):
        path = str(local_weights(config))
        return build_from_header(
            path, lambda found: inferencer(found, path, device, **kwargs), checkpoint
        )
    weights = str(local_weights(weights)) if weights else weights
    config = own_config(config)
    if checkpoint:
        config.model.checkpoint = checkpoint
    check_settings(config)
    require_adaptable(config, weights)
    return MMSegInferencer(config, weights, device=default_device(device), scope=SCOPE, **kwargs)


def is_adaptable(config: Config) -> bool:
    """Whether the config's model accepts adapter files."""
    kind = MODELS.get(config.model.type)
    return isinstance(kind, type) and issubclass(kind, PEFTSegmentor)


def require_adaptable(config: Config, weights: str | os.PathLike | None) -> None:
    """Raises ValueError when ``weights`` is an adapter file but the config's model accepts none."""
    if (
        not is_adaptable(config)
        and str(weights).endswith('.safetensors')
        and ADAPTER in load_safetensors(weights)[1]
    ):
        raise ValueError(
            f'{weights} is an adapter file, but the model of this config is a {config.model.type}: '
            'adapters '
            f'belong to {PEFTSegmentor.__name__}. Give the config the adapter was trained with.'
        )


def build_to_count(config: Config) -> nn.Module:
    """The config's model without weights, to count its parameters; ours takes no memory (meta
    device)."""
    init_default_scope(config.get('default_scope', SCOPE))
    with torch.device(
        'meta' if is_adaptable(config) else 'cpu'
    ):  # some of MMSegmentation's read values while being built
        return MODELS.build(config.model)


def default_device(device: str | None = None) -> str:
    """The device itself, or the GPU where there is one. ValueError for one that is not there."""
    if str(device or '').startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(
            f'device={device}: PyTorch sees no GPU here. Leave it out to compute on the CPU; or '
            "install PyTorch's build for CUDA, and look at nvidia-smi."
        )
    return device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
