"""Where objects end, as a mask to be learnt."""

import torch
import torch.nn.functional as F
from torch import Tensor


def boundary_target(labels: Tensor, thickness: int = 8, ignore_index: int = 255) -> Tensor:
    """1 near a boundary, 0 elsewhere, ``ignore_index`` where the label is ignored: (B, H, W) long.

    A contour pixel belongs to a class above 0 and has one of another class above, below, left or
    right of it. Near are pixels whose centre is at most half the ``thickness`` from that of a
    contour pixel. Neither the image's edge nor one to ignored pixels is a boundary.

    Args:
        labels: (B, H, W), class numbers.
        thickness: Of the drawn lines, in pixels.
    """
    valid = labels != ignore_index
    contour = torch.zeros_like(valid)
    for axis in (1, 2):
        length = labels.shape[axis] - 1
        one, other = labels.narrow(axis, 0, length), labels.narrow(axis, 1, length)
        differ = (one != other) & valid.narrow(axis, 0, length) & valid.narrow(axis, 1, length)
        contour.narrow(axis, 0, length).logical_or_(differ)
        contour.narrow(axis, 1, length).logical_or_(differ)
    contour &= labels > 0
    radius = thickness / 2
    reach = int(radius)
    steps = torch.arange(-reach, reach + 1, device=labels.device) ** 2
    disc = (steps[:, None] + steps <= radius**2).float()
    near = F.conv2d(contour[:, None].float(), disc[None, None], padding=reach)[:, 0] > 0.5
    return near.long().masked_fill(~valid, ignore_index)
