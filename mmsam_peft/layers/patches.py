"""From an image to its patches."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Patches as tokens: (B, in_channels, H, W) -> (B, H / stride, W / stride, C). By default they
    do not overlap.

    The first three channels, red, green and blue, go through the encoder's own weights. Those of
    further ones start at zero, so that the encoder sees what it saw without them.
    """

    def __init__(
        self,
        patch_size: int,
        embed_dim: int,
        in_channels: int = 3,
        stride: int | None = None,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(
            3, embed_dim, patch_size, stride=stride or patch_size, padding=padding, bias=bias
        )
        self.further = None
        if in_channels > 3:  # no module, so that methods that change convolutions see three alone
            shape = embed_dim, in_channels - 3, patch_size, patch_size
            self.further = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        y = self.proj(x[:, :3] if self.further is not None else x)
        if self.further is not None:
            y = y + F.conv2d(
                x[:, 3:], self.further, stride=self.proj.stride, padding=self.proj.padding
            )
        # rows of channels in memory too: all blocks go on with the layout, and their norms would
        # turn it each time
        return y.permute(0, 2, 3, 1).contiguous()
