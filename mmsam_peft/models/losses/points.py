"""Logits and labels at points, given as (x, y) in [0, 1) of the image's width and height."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_logits(logits: Tensor, points: Tensor) -> Tensor:
    """Bilinear values (M, C, P) of maps (M, C, h, w) at points (M, P, 2); beyond the outer pixel
    centres the border continues.

    These are the values of the map resized to the image (``align_corners=False``).
    """
    grid = 2 * points[:, None] - 1  # (M, 1, P, 2), in [-1, 1) as grid_sample counts
    return F.grid_sample(
        logits, grid, mode='bilinear', padding_mode='border', align_corners=False
    ).squeeze(2)


def sample_labels(labels: Tensor, image: Tensor, points: Tensor) -> Tensor:
    """Labels (M, P) of the pixels under points (M, P, 2), in the maps ``labels[image]``: labels (B,
    H, W), image (M,)."""
    height, width = labels.shape[1:]
    x = (points[..., 0] * width).long().clamp(max=width - 1)
    y = (points[..., 1] * height).long().clamp(max=height - 1)
    return labels[image[:, None], y, x]


@torch.no_grad()
def uncertain_points(
    logits: Tensor,
    labels: Tensor,
    image: Tensor,
    ignore_index: int,
    num_points: int,
    oversample_ratio: float,
    importance_ratio: float,
) -> Tensor:
    """Points (M, num_points, 2) for masks with logits (M, h, w) of images (M,): a share of
    uncertain ones, the others uniform.

    Of ``oversample_ratio * num_points`` uniform points the ``importance_ratio * num_points`` with
    the smallest ``|logit|`` are kept, points on ignored pixels last: the network stays uncertain
    there, so they would take the places of others.

    Source: Kirillov et al., PointRend (CVPR 2020, arXiv 1912.08193), section 3.1, training.
    """
    masks = len(logits)
    num_uncertain = int(importance_ratio * num_points)
    candidates = torch.rand(masks, int(oversample_ratio * num_points), 2, device=logits.device)
    certainty = sample_logits(logits[:, None], candidates).squeeze(1).abs()
    certainty = certainty.masked_fill(
        sample_labels(labels, image, candidates) == ignore_index, torch.inf
    )
    chosen = certainty.topk(num_uncertain, dim=1, largest=False).indices
    uncertain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    uniform = torch.rand(masks, num_points - num_uncertain, 2, device=logits.device)
    return torch.cat((uncertain, uniform), dim=1)
