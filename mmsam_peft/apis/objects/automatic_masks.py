"""Masks of everything in an image: a grid of clicks, and of their answers those that are sure,
stable and not there twice.

As ``SamAutomaticMaskGenerator`` of segment-anything, whose parts it is made of, without its crops.
That class itself needs torchvision, for non-maximum suppression.
"""

import numpy as np
import torch
from segment_anything.utils.amg import (
    batched_mask_to_box,
    build_point_grid,
    calculate_stability_score,
    mask_to_rle_pytorch,
    rle_to_mask,
)
from torch import Tensor

from .instances import AT_A_TIME, Instance, batched, tensors
from .predictor import Predictor
from .prompt_files import ObjectPrompt


def automatic_masks(
    predictor: Predictor,
    points_per_side: int = 32,
    least_score: float = 0.88,
    least_stability: float = 0.95,
    stability_offset: float = 1.0,
    most_overlap: float = 0.7,
) -> list[Instance]:
    """The objects of the predictor's image, the best first.

    Args:
        points_per_side: The grid has so many points along each side.
        least_score: Of the IoU that the model expects of a mask.
        least_stability: IoU of the masks at logits above and below the threshold.
        stability_offset: How far above and below.
        most_overlap: IoU of boxes; of two masks that overlap more the better one stays.

    Raises:
        RuntimeError: No image is set.
        ValueError: Settings that are no such numbers.
    """
    shares = dict(least_stability=least_stability, most_overlap=most_overlap)
    if points_per_side < 1 or not all(0 <= share <= 1 for share in shares.values()):
        raise ValueError(
            f'points_per_side={points_per_side}, {shares}: expected a number of points, and shares '
            'between 0 and 1.'
        )
    height, width = predictor.original_size
    grid = build_point_grid(points_per_side) * (width, height)
    found: list[tuple[dict, Tensor, float, ObjectPrompt, float]] = []
    for batch in batched(grid.tolist(), AT_A_TIME):
        prompts = [ObjectPrompt((tuple(point),), (1,)) for point in batch]
        logits, scores = predictor.answer(**tensors(predictor, prompts))
        for i, j in (scores > least_score).nonzero().tolist():
            mask = predictor.to_image(logits[i : i + 1, j : j + 1])[0]
            stability = calculate_stability_score(mask, predictor.mask_threshold, stability_offset)
            mask = mask > predictor.mask_threshold
            if mask.any() and stability.item() >= least_stability:
                box = batched_mask_to_box(mask)[0].cpu()
                rle = mask_to_rle_pytorch(mask)[0]  # as bits, thousands would fill the memory
                found.append((rle, box, scores[i, j].item(), prompts[i], stability.item()))
    if not found:
        return []
    kept = suppress(
        torch.stack([one[1] for one in found]).float(),
        torch.tensor([one[2] for one in found]),
        most_overlap,
    )
    return [
        Instance(np.asarray(rle_to_mask(rle), bool), score, prompt, stability)
        for rle, _, score, prompt, stability in (found[i] for i in kept)
    ]


def suppress(boxes: Tensor, scores: Tensor, most: float) -> list[int]:
    """Non-maximum suppression: indices of boxes (N, 4), from the highest score (N,) on, without
    those whose IoU with a better one that stays is above ``most``."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left = scores.argsort(descending=True, stable=True)
    kept: list[int] = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        corners = boxes[left]
        sides = torch.minimum(corners[:, 2:], boxes[best, 2:]) - torch.maximum(
            corners[:, :2], boxes[best, :2]
        )
        both = sides.clamp(min=0).prod(1)
        iou = both / (area[left] + area[best] - both)
        left = left[~(iou > most)]
    return kept
