"""The transformer block of SAM's image encoder, with attention in windows or over the whole map."""
import torch
import torch.nn.functional as F
from segment_anything.modeling.common import MLPBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Attention


def window_partition(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """(B, H, W, C) -> (B * windows, window, window, C), zero-padded; also the padded (Hp, Wp)."""
    B, H, W, C = x.shape
    x = F.pad(x, (0, 0, 0, -W % window, 0, -H % window))
    Hp, Wp = x.shape[1:3]
    x = x.view(B, Hp // window, window, Wp // window, window, C)
    return x.transpose(2, 3).reshape(-1, window, window, C), (Hp, Wp)


def window_unpartition(x: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The inverse: (B * windows, window, window, C) -> (B, H, W, C), padding dropped."""
    (Hp, Wp), window, C = padded, x.shape[1], x.shape[-1]
    x = x.view(-1, Hp // window, Wp // window, window, window, C)
    return x.transpose(2, 3).reshape(-1, Hp, Wp, C)[:, :size[0], :size[1]]


class Block(nn.Module):
    """Pre-norm transformer block on (B, H, W, C), with attention in windows of ``window_size``, or global where that is 0."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, window_size: int, grid: tuple[int, int],
                 attention: str, checkpointing: bool) -> None:
        super().__init__()
        self.window_size, self.checkpointing = window_size, checkpointing
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, (window_size, window_size) if window_size else grid, attention)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLPBlock(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """The map (B, H, W, C) after the block. ``extra`` tokens, (1, P, C) or (B, P, C), are seen by the attention of every
        window, normalised and projected like any other; they have no position and are not returned."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self.transform, x, extra, use_reentrant=False)
        return self.transform(x, extra)

    def transform(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        x = x + self.attend(self.norm1(x), None if extra is None else self.norm1(extra))
        return x + self.mlp(self.norm2(x))

    def attend(self, x: Tensor, extra: Tensor | None) -> Tensor:
        if not self.window_size:
            return self.attn(x, extra)
        windows, padded = window_partition(x, self.window_size)
        return window_unpartition(self.attn(windows, extra), padded, x.shape[1:3])
