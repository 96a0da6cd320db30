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
OWN, NEAR = 0.99, 1e-2
"""The same share, and how near numbers are, where Pillow resized the image: it rounds some pixels
otherwise."""
TRIES = 3
"""Random images. Where Conv-LoRA's gate is undecided between experts, rounding decides."""


def answers(path: Path, images: Tensor) -> list[np.ndarray] | None:
    """What a file says of images; None for ONNX where ONNX Runtime is not installed."""
    if path.suffix == '.pt2':
        with torch.no_grad():
            found = torch.export.load(path).module()(images)
        return [one.numpy() for one in found]
    return run_onnx(path, {'images': images.numpy()})


def run_onnx(path: Path, given: dict[str, np.ndarray]) -> list[np.ndarray] | None:
    """What a file answers to its inputs; None where ONNX Runtime is not installed."""
    if importlib.util.find_spec('onnxruntime') is None:
        return None
    session = optional('onnxruntime').InferenceSession(path, providers=['CPUExecutionProvider'])
    return session.run(None, given)


def verify(path: Path, network: Network, model: nn.Module, exact: bool = True) -> dict | None:
    """Compares a file with the model, on random images, in two batches.

    Args:
        network: What was exported.
        model: What it was made of, with its adapters; where the file reads images and resizes, it
            is asked by ``inference_model``, with its own pipeline.
        exact: False for weights of 8 bits: only what is not finite is an error.

    Returns:
        ``difference``, the largest of the numbers as in ``TOLERANCE``; ``same``, the smallest share
        of pixels of one class; ``own``, the same where the model predicted by itself, if it did.
        None where nothing can run the file.

    Raises:
        ValueError: The file answers something else.
    """
    for seed in range(TRIES):
        found = dict(difference=0.0, same=1.0, own=None)
        for batch in (1, 2):
            images = network.example(batch, seed)
            given = answers(path, images)
            if given is None:
                return None
            for ours, its in zip(given, expected(network, images), strict=True):
                if ours.dtype.kind == 'f':
                    found['difference'] = max(found['difference'], far(ours, its).max())
                else:
                    found['same'] = min(found['same'], (ours == its).mean())
        if network.preprocessing and network.resize:
            image = network.example(1, seed)
            own = own_answers(model, image[0].numpy(), network.tasks)
            pairs = zip(answers(path, image)[::2], own, strict=True)
            found['own'] = min((far(ours, its) < NEAR).mean() for ours, its in pairs)
        found = {name: None if one is None else float(one) for name, one in found.items()}
        finite = np.isfinite(found['difference'])
        if finite and (not exact or _is_right(**found)):
            return found
    raise ValueError(
        f'The exported file does not answer as the model does: numbers differ by '
        f'{found["difference"]:.1e} of the largest (at most {TOLERANCE:.0e} is rounding), '
        f'{found["same"]:.2%} of the pixels are those of the exported network, and '
        f'{"none" if found["own"] is None else format(found["own"], ".2%")} those that the model '
        'predicts by itself. It was not written. Other versions of torch, onnxscript and '
        'onnxruntime may do.'
    )


def _is_right(difference: float, same: float, own: float | None) -> bool:
    return difference <= TOLERANCE and same >= SHARE and (own is None or own >= OWN)


def far(ours: np.ndarray, its: np.ndarray) -> np.ndarray:
    """How far numbers are from others, by the largest of these, or by 1; infinite where one is
    NaN."""
    scale = max(1.0, np.abs(its.astype(np.float64)).max(initial=0))
    return np.nan_to_num(np.abs(ours.astype(np.float64) - its) / scale, nan=np.inf)


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
