"""SAM's mask decoder without prompt tokens and IoU head."""

import math

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import Tensor, nn

SIZES = 'in_channels, depth, mlp_dim and num_tokens of decode_head'
"""What of a config says which checkpoints fit a decoder."""


class SAMDecoder(nn.Module):
    """The parts of SAM's mask decoder, under its names, and one pass through them for whole
    batches.

    A subclass calls ``build_decoder`` in its constructor. Without prompts all mask
    tokens go through hypernetwork MLP 0; SAM's other MLPs and its IoU head take no part and are
    left out.
    """

    num_tokens: int | None = None
    """So many of the mask tokens take part where there is no prompt; None: all."""

    def build_decoder(
        self, dim: int, num_tokens: int, depth: int, num_heads: int, mlp_dim: int
    ) -> None:
        self.transformer = TwoWayTransformer(
            depth=depth, embedding_dim=dim, num_heads=num_heads, mlp_dim=mlp_dim
        )
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(num_tokens, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList([MLP(dim, dim, dim // 8, 3)])

    def decode_map(
        self, x: Tensor, position: Tensor, num_masks: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """From a map with its dense prompt to masks.

        Args:
            x: (B, C, h, w), image embedding plus dense prompt.
            position: (C, h, w), the map's positional encoding.
            num_masks: Only the first so many mask tokens give a mask; None for all N.

        Returns:
            The mask tokens (B, num_masks, C) and their mask logits (B, num_masks, 4h, 4w).
        """
        tokens, x = self.attend(x, position, self.mask_tokens.weight[: self.num_tokens])
        tokens = tokens[:, 1:][:, :num_masks]
        masks = self.output_hypernetworks_mlps[0](tokens) @ x.flatten(2)
        return tokens, masks.unflatten(2, x.shape[2:])

    def attend(
        self, x: Tensor, position: Tensor, mask_tokens: Tensor, sparse: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The IoU token and ``mask_tokens`` (N, C), behind them the prompts' (B, T, C), after the
        two-way transformer, (B, 1 + N + T, C); and the up-scaled map, (B, C / 8, 4h, 4w)."""
        B, C, h, w = x.shape
        tokens = torch.cat([self.iou_token.weight, mask_tokens]).expand(B, -1, -1)
        if sparse is not None:
            tokens = torch.cat([tokens, sparse], 1)
        tokens, x = self.transformer(x, position.to(x.dtype).expand(B, -1, -1, -1), tokens)
        return tokens, self.output_upscaling(
            x.transpose(1, 2).reshape(B, C, h, w)
        )  # (B, h * w, C) -> (B, C, h, w) -> (B, C / 8, 4h, 4w)


def exact_position(pe_layer: nn.Module, x: Tensor) -> Tensor:
    """SAM's random positional encoding (C, h, w) of a map (.., h, w); not in bfloat16, which would
    blur neighbouring cells."""
    with torch.autocast(x.device.type, enabled=False):
        return pe_layer(tuple(x.shape[-2:]))


def to_image(logits: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """(B, N, 4h, 4w) to (B, N, *size): up to the encoder's zero-padded input, then the padding is
    cut off.

    Args:
        stride: Image pixels per feature cell and axis.
    """
    padded = [math.ceil(side / stride) * stride for side in size]
    return F.interpolate(logits, size=padded, mode='bilinear', align_corners=False)[
        ..., : size[0], : size[1]
    ]
