"""What Dice would be if a pixel were called foreground from another probability on."""

import numpy as np
import torch

from .sample import ground_truth, probability

THRESHOLDS = np.linspace(0, 1, 51)


def image_curve(sample: dict, ignore_index: int = 255) -> np.ndarray | None:
    """Dice of one image at each of ``THRESHOLDS``, (51,), as a fraction; None without a valid
    pixel. An empty mask predicted empty has 1, as in ``BinaryMetric``.

    Raises:
        ValueError: The logits are not those of two classes.
    """
    target, valid = ground_truth(sample, 1, ignore_index)
    scores = probability(sample, target.shape).to(target.device)[valid]
    if not scores.numel():
        return None
    target = target[valid]
    steps = len(THRESHOLDS) - 1
    levels = (steps * scores + 1e-4).clamp(max=steps).to(torch.uint8)  # 0.3 is at the threshold 0.3
    cells = torch.bincount(2 * levels + target, minlength=2 * steps + 2).view(-1, 2)
    cells = cells.flip(0).cumsum(0).flip(0).cpu().numpy()  # at each level or above it
    tp, total = cells[:, 1], cells.sum(1) + cells[0, 1]
    return np.where(total > 0, 2 * tp / np.maximum(total, 1), 1.0)
