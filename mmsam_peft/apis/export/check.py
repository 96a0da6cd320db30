"""Whether an exported file answers as the model does."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...models.segmentors import MultiTaskSegmentor
from ..inference import inference_model
from .files import optional
from .network import Network

TOLERANCE = 1e-3
"""Largest difference of a number, by the largest number of its output, or by 1."""
SHARE = 0.999
"""Of pixels that have the same class."""
TRIES = 3
"""Random images. Where Conv-LoRA's gate is undecided between experts, rounding decides."""


def answers(path: Path, images: Tensor) -> list[np.ndarray] | None:
    """What a file says of images; None for ONNX where ONNX Runtime is not installed."""
    if path.suffix == '.pt2':
        with torch.no_grad():
            found = torch.export.load(path).module()(images)
        return [one.numpy() for one in found]
    if importlib.util.find_spec('onnxruntime') is None:
        return None
    session = optional('onnxruntime').InferenceSession(path, providers=['CPUExecutionProvider'])
    return session.run(None, {'images': images.numpy()})


def verify(path: Path, network: Network, model: nn.Module, exact: bool = True) -> dict | None:
    """Compares a file with the model, on random images, in two batches.

    Args:
        network: What was exported.
        model: What it was made of, with its adapters; where the file reads images and resizes, it
            is asked by ``inference_model``, with its own pipeline.
        exact: False for weights of 8 bits: only what is not finite is an error.

    Returns:
        ``difference``, the largest of the numbers as in ``TOLERANCE``, and ``same``, the smallest
        share of pixels of one class; None where nothing can run the file.

    Raises:
        ValueError: The file answers something else.
    """
    for seed in range(TRIES):
        found = None
        for batch in (1, 2):
            images = network.example(batch, seed)
            given = answers(path, images)
            if given is None:
                return None
            found = _worst(found, compared(given, expected(network, images)))
            if network.preprocessing and network.resize and batch == 1:
                own = own_answers(model, images[0].numpy(), network.tasks)
                found = _worst(found, compared(given[::2], own))
        right = found['difference'] <= TOLERANCE and found['same'] >= SHARE
        if right or not exact and np.isfinite(found['difference']):
            return found
    raise ValueError(
        f'The exported file does not answer as the model does: numbers differ by '
        f'{found["difference"]:.1e} of the largest (at most {TOLERANCE:.0e} is rounding), and '
        f'{found["same"]:.2%} of the pixels have the same class. It was not written. Other '
        'versions of torch, onnxscript and onnxruntime may do; the adapter itself is as good as '
        'before.'
    )


@torch.no_grad()
def expected(network: Network, images: Tensor) -> list[np.ndarray]:
    return [one.numpy() for one in network(images)]


def own_answers(
    model: nn.Module, image: np.ndarray, tasks: Sequence[str] | None
) -> list[np.ndarray]:
    """Of an image (H, W, 3), RGB, as any other prediction: masks, or what each task is, with a
    batch of one."""
    sample = inference_model(model, np.ascontiguousarray(image[..., ::-1]))
    if isinstance(model, MultiTaskSegmentor):
        return [sample.get(f'pred_{name}').data[None].numpy() for name in tasks]
    return [sample.pred_sem_seg.data.numpy()]


def compared(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> dict[str, float]:
    result = dict(difference=0.0, same=1.0)
    for ours, its in zip(found, wanted, strict=True):
        if ours.shape != its.shape:
            raise ValueError(f'got an output of the shape {ours.shape}, expected {its.shape}')
        if ours.dtype.kind == 'f':
            scale = max(1.0, np.abs(its).max(initial=0))
            far = float(np.abs(ours.astype(np.float64) - its).max(initial=0) / scale)
            result['difference'] = max(result['difference'], far if far == far else np.inf)
        else:
            result['same'] = min(result['same'], float((ours == its).mean()))
    return result


def _worst(first: dict | None, second: dict) -> dict:
    if first is None:
        return second
    return dict(
        difference=max(first['difference'], second['difference']),
        same=min(first['same'], second['same']),
    )
