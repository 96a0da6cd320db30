"""Learning without forgetting: prompted answers are held to those of the base model."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...datasets.transforms.prompts import box_of, moved_box
from ...measures.clicks import random_pixel
from ..prompt_encoders import Prompts

CLICKS = 2
"""On each image."""


class Question(NamedTuple):
    """Prompts of N objects, whether they ask for three masks, and the base's answer: logits (N, M,
    4h, 4w) and IoU (N, M)."""

    prompts: Prompts
    multimask: bool
    logits: Tensor
    iou: Tensor


def keep_loss(
    head: nn.Module, maps: tuple[Tensor, ...], base_maps: tuple[Tensor, ...], samples: list
) -> Tensor:
    """How far the answers to prompts anywhere are from those of the base model, (); 0 where they
    are the same. No labels are needed.

    Each image is clicked at ``CLICKS`` pixels that are not of the class. The base answers with
    three masks, and then to a box around the best of them or to one more click that contradicts
    it, by turns; so must the model. Per mask the distance is the Kullback-Leibler divergence of
    the pixels' probabilities plus their Dice loss, times the IoU that the base expects of its
    mask: what it does not know need not be kept. Beside it stands the squared difference of the
    expected IoU.

    Source: Li and Hoiem, Learning without Forgetting (arXiv 1606.09282).

    Args:
        head: With ``prompted``, answered by the base's decoder.
        maps, base_maps: Of the tuned and of the base's encoder.
        samples: With what ``SamplePrompts`` has drawn.
    """
    with torch.no_grad():
        asked = list(questions(head, base_maps, samples))
    losses = []
    for prompts, multimask, wanted, wanted_iou in asked:
        logits, iou = head.prompted(maps, prompts, multimask)
        valid = inside(samples, logits, head.stride)[prompts.image]
        worth = wanted_iou.float().clamp(0, 1)
        apart = (worth * distance(logits.float(), wanted.float(), valid)).mean()
        losses.append(apart + F.mse_loss(iou.float(), wanted_iou.float()))
    # as in PromptLoss, every parameter has a gradient in every step
    trained = (one.sum() for one in head.parameters() if one.requires_grad)
    tied = 0 * sum(trained, start=maps[-1].new_zeros(()))
    return tied + torch.stack(losses).mean() if losses else tied


def distance(logits: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """Divergence and Dice loss of (N, M, H, W) from wanted logits, over valid pixels, bool (N, 1,
    H, W): (N, M)."""
    p, q = logits.sigmoid() * valid, wanted.sigmoid() * valid
    divergence = F.binary_cross_entropy_with_logits(
        logits, q, reduction='none'
    ) - F.binary_cross_entropy_with_logits(wanted, q, reduction='none')
    divergence = (divergence * valid).sum((2, 3)) / valid.sum((2, 3))
    overlap = (2 * (p * q).sum((2, 3)) + 1) / ((p**2 + q**2).sum((2, 3)) + 1)
    return divergence + 1 - overlap


def questions(head: nn.Module, maps: tuple[Tensor, ...], samples: list) -> Iterator[Question]:
    """What the base is asked, and its answers."""
    device, image, points, rngs = maps[-1].device, [], [], []
    for number, sample in enumerate(samples):
        rng = np.random.default_rng([sample.metainfo['prompts']['seed'], *b'keep'])
        height, width = sample.metainfo['img_shape'][:2]
        elsewhere = (sample.gt_sem_seg.data[0, :height, :width] != 1).cpu().numpy()
        for _ in range(CLICKS if elsewhere.any() else 0):
            image.append(number)
            points.append(random_pixel(elsewhere, rng))
            rngs.append(rng)
    if not image:
        return
    where = torch.tensor(image, device=device)
    clicks = torch.tensor(points, dtype=torch.float32, device=device)[:, None]
    first = Prompts(where, clicks, torch.ones(len(where), 1, dtype=torch.long, device=device))
    logits, iou = head.prompted(maps, first, True)
    yield Question(first, True, logits, iou)

    rows = torch.arange(len(where), device=device)
    best = logits[rows, iou.argmax(1)][:, None]
    seen = ((best > 0) & inside(samples, logits, head.stride)[where])[:, 0].cpu().numpy()
    stride = head.stride  # in pixels, of four cells of the logits
    boxes, boxed, others, corrected = [], [], [], []
    for i, (number, rng) in enumerate(zip(image, rngs, strict=True)):
        shape = samples[number].metainfo['img_shape'][:2]
        if i % 2 and seen[i].any():
            box = box_of(seen[i])
            box[:2], box[2:] = box[:2] * stride // 4, (box[2:] + 1) * stride // 4 - 1
            boxes.append(moved_box(box, shape, rng))
            boxed.append(i)
        elif not i % 2:
            x, y = random_pixel(np.ones(shape, bool), rng)
            label = not seen[i, 4 * y // stride, 4 * x // stride]
            others.append([*points[i], 1.0, x, y, float(label)])
            corrected.append(i)
    if boxed:
        prompts = Prompts(
            where[boxed],
            clicks.new_zeros(len(boxed), 0, 2),
            where.new_zeros(len(boxed), 0),
            torch.tensor(boxes, dtype=torch.float32, device=device),
        )
        yield Question(prompts, False, *head.prompted(maps, prompts))
    both = torch.tensor(others, dtype=torch.float32, device=device).unflatten(1, (2, 3))
    prompts = Prompts(
        where[corrected], both[..., :2], both[..., 2].long(), masks=best[corrected].float()
    )
    yield Question(prompts, False, *head.prompted(maps, prompts))


def inside(samples: list, logits: Tensor, stride: int) -> Tensor:
    """Which cells of logits (.., 4h, 4w) have their middle in the image, and not in its padding:
    bool (B, 1, 4h, 4w)."""
    height, width = logits.shape[-2:]
    valid = torch.zeros(len(samples), 1, height, width, dtype=torch.bool, device=logits.device)
    for one, sample in zip(valid, samples, strict=True):
        rows, columns = (4 * side // stride for side in sample.metainfo['img_shape'][:2])
        one[:, : max(rows, 1), : max(columns, 1)] = True
    return valid
