"""What the binary metrics read from one data sample."""

import numpy as np
import torch
from torch import Tensor

UNLABELLED = ()
"""The result of an image without a valid pixel. MMEngine drops None where it gathers the results of
several processes, and counts an image twice in its place."""


def ground_truth(sample: dict, foreground: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """``(target, valid)``, both bool ``(H, W)``: where the label is ``foreground``, and where it is
    not ``ignore_index``."""
    label = _plane(sample['gt_sem_seg']['data'])
    return label == foreground, label != ignore_index


def require_binary(sample: dict, ignore_index: int) -> None:
    """Raises ValueError, naming the file, for labels that are neither 0, 1 nor ignored: they would
    count as background."""
    label = _plane(sample['gt_sem_seg']['data'])
    other = label[(label != 0) & (label != 1) & (label != ignore_index)]
    if other.numel():
        path = sample.get('seg_map_path', sample.get('img_path', 'a sample without a path'))
        raise ValueError(
            f'{path}: got the labels {other.unique()[:5].tolist()} at {other.numel()} pixels, '
            'expected 0, 1 and '
            f'{ignore_index} for ignored ones: correct the masks or mask_values; for one class '
            'against all others '
            "set dict(type='BinaryMetric', foreground=NUMBER)."
        )


def prediction(sample: dict, foreground: int, shape: torch.Size) -> Tensor:
    """Bool ``(H, W)``: where the predicted class is ``foreground``."""
    return _same_shape(_plane(sample['pred_sem_seg']['data']), shape) == foreground


def probability(sample: dict, shape: torch.Size) -> Tensor:
    """Foreground probability, float32 ``(H, W)``: one channel as it is (after MMSegmentation's
    sigmoid), two by softmax.

    Raises:
        ValueError: for other channel counts, and for values that are no probabilities.
    """
    scores = _same_shape(sample['seg_logits']['data'], shape).float()
    channels = 1 if scores.ndim == 2 else len(scores)
    if channels > 2:
        raise ValueError(
            f'seg_logits has {channels} channels, expected 1 (probability) or 2 (background, '
            'foreground logits); '
            'use IoUMetric for more than two classes.'
        )
    scores = scores.softmax(0)[1] if channels == 2 else _plane(scores)
    low, high = scores.min().item(), scores.max().item()
    if not 0 <= low <= high <= 1:  # also false for NaN
        raise ValueError(
            f'seg_logits of one channel must be probabilities in [0, 1], got values in [{low:.3g}, '
            f'{high:.3g}]; '
            'apply the sigmoid as MMSegmentation does with out_channels=1, and check the model for '
            'NaN.'
        )
    return scores


def labelled(results: list) -> list:
    """The results of images with at least one valid pixel; the others are ``UNLABELLED``.

    Raises:
        ValueError: if no image is left.
    """
    kept = [result for result in results if result]
    if not kept:
        raise ValueError(
            f'None of {len(results)} images has a labelled pixel: check the masks and ignore_index '
            '(binary masks stored as 0 and 255 must be read as 0 and 1).'
        )
    return kept


def to_8bit(probability: Tensor) -> np.ndarray:
    """The grey level ``round(255 p)`` a saliency map stored as PNG would have, uint8 ``(H, W)``."""
    return (255 * probability).round().byte().cpu().numpy()


def _plane(data: Tensor) -> Tensor:
    """``(1, H, W)`` or ``(H, W)`` -> ``(H, W)``."""
    return data.reshape(data.shape[-2:])


def _same_shape(data: Tensor, shape: torch.Size) -> Tensor:
    if data.shape[-2:] != shape:
        raise ValueError(
            f'The prediction has size {tuple(data.shape[-2:])}, its mask {tuple(shape)}: '
            'put LoadAnnotations after Resize in the test pipeline, so that both have the original '
            'size.'
        )
    return data
