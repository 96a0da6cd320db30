"""Bipartite matching of queries and the class masks of an image."""

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .binary import divide


def matching_costs(
    class_logits: Tensor, point_logits: Tensor, point_labels: Tensor, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Costs (B, K, N) of query n standing for class k: minus the probability of the class, mean
    cross-entropy, Dice loss.

    The cross-entropy of logits x with a mask t is softplus(x) - x t, so all pairs are matrix
    products. A point on an ignored pixel does not count.

    Args:
        class_logits: (B, N, K + 1).
        point_logits: (B, N, P), mask logits at P points of each image.
        point_labels: (B, P).
    """
    num_classes = class_logits.shape[-1] - 1
    valid = (point_labels != ignore_index).to(point_logits.dtype)
    classes = torch.arange(num_classes, device=point_labels.device)
    masks = (point_labels[:, None] == classes[:, None]).to(point_logits.dtype)  # (B, K, P)
    probs = point_logits.sigmoid()

    cost_class = -class_logits.softmax(-1)[..., :num_classes].transpose(1, 2)
    negative = torch.einsum('bnp,bp->bn', F.softplus(point_logits), valid)
    positive = torch.einsum('bkp,bnp->bkn', masks, point_logits)
    cost_mask = divide(negative[:, None] - positive, valid.sum(1)[:, None, None])
    overlap = torch.einsum('bkp,bnp->bkn', masks, probs)
    sizes = torch.einsum('bnp,bp->bn', probs, valid)[:, None] + masks.sum(2)[:, :, None]
    return cost_class, cost_mask, 1 - (2 * overlap + 1) / (sizes + 1)


def assign(costs: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Matches (3, M) = (image, query, class) of least total cost per image, in the order of images
    and classes.

    Costs that are not finite count as zero: whoever made them gives a loss that is not finite, too.

    With more classes in an image than queries, the classes that fit worst are left out, with a
    warning.

    Args:
        costs: (B, K, N).
        present: (B, K), whether the image shows the class.
    """
    num_queries = costs.shape[2]
    if present.sum(1).max() > num_queries:
        warnings.warn(
            f'an image shows more classes than the head has queries ({num_queries}), the surplus '
            'does not train: add queries',
            stacklevel=2,
        )
    costs, matches = np.where(np.isfinite(costs), costs, 0), []
    for image, shown in enumerate(present):
        classes = np.flatnonzero(shown)
        rows, queries = linear_sum_assignment(costs[image, classes])
        matches.append(np.stack((np.full_like(queries, image), queries, classes[rows])))
    return np.concatenate(matches, axis=1)
