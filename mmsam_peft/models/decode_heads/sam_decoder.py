"""SAM's mask decoder without prompt tokens and IoU head."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import Tensor, nn

from .hq import HighQuality

SIZES = 'in_channels, depth, mlp_dim and num_tokens of decode_head'
"""What of a config says which checkpoints fit a decoder."""


class SAMDecoder(nn.Module):
    """The parts of SAM's mask decoder, under its names, and one pass through them for whole
    batches.

    A subclass calls ``build_decoder`` in its constructor. Without prompts all mask tokens go
    through hypernetwork MLP 0; SAM's other MLPs and its IoU head take no part and are left out.
    """

    fine = False

    num_tokens: int | None = None
    """So many of the mask tokens take part where there is no prompt; None: all."""

    def build_decoder(
        self,
        dim: int,
        num_tokens: int,
        depth: int,
        num_heads: int,
        mlp_dim: int,
        fine: bool = False,
        hq: dict | None = None,
    ) -> None:
        """
        Args:
            fine: SAM 2's decoder, which has a further token, of whether there is an object, and
                adds the two maps before the last one as it scales up.
            hq: Arguments of HQ-SAM's part, ``HighQuality``, but its width; None for none.
        """
        self.fine = fine
        if fine:
            self.obj_score_token = nn.Embedding(1, dim)
            self.conv_s0, self.conv_s1 = nn.Conv2d(dim, dim // 8, 1), nn.Conv2d(dim, dim // 4, 1)
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
        self.hq = HighQuality(dim, **hq) if hq else None

    @property
    def before_iou(self) -> int:
        """How many tokens come before the IoU token."""
        return int(self.fine)

    def finer(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
        """What is added of the two maps before the last, (B, C / 8, 4h, 4w) and (B, C / 4, 2h, 2w);
        None for a head that is not ``fine``.

        Raises:
            ValueError: The encoder returns a single map.
        """
        if not self.fine:
            return None
        if len(maps) < 3:
            raise ValueError(
                f"decode_head.fine=True reads the three maps of an encoder such as SAM 2's, but "
                f'this encoder returns {len(maps)}: set it to False.'
            )
        return self.conv_s0(maps[-3]), self.conv_s1(maps[-2])

    def decode_map(
        self,
        x: Tensor,
        position: Tensor,
        num_masks: int | None = None,
        *,
        fine: Sequence[Tensor] | None = None,
        details: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """From a map with its dense prompt to masks.

        Args:
            x: (B, C, h, w), image embedding plus dense prompt.
            position: (C, h, w), the map's positional encoding.
            num_masks: Only the first so many mask tokens give a mask; None for all N.
            fine: As ``finer`` gives them; of B / n elements, each of them for n in a row.
            details: As ``details`` gives them, likewise.

        Returns:
            The mask tokens (B, num_masks, C) and their mask logits (B, num_masks, 4h, 4w).
        """
        mask_tokens = self.mask_tokens.weight[: self.num_tokens]
        tokens, x = self.attend(x, position, mask_tokens, fine=fine)
        own, others = tokens[:, self.before_iou + 1 :].tensor_split([len(mask_tokens)], 1)
        own = own[:, :num_masks]
        masks = (self.output_hypernetworks_mlps[0](own) @ x.flatten(2)).unflatten(2, x.shape[2:])
        return own, masks if self.hq is None else self.hq.masks(masks, others, x, details)

    def details(self, maps: Sequence[Tensor]) -> Tensor | None:
        """What HQ-SAM's part makes of the encoder's maps; None for a head without it."""
        return None if self.hq is None else self.hq.features(maps)

    def attend(
        self,
        x: Tensor,
        position: Tensor,
        mask_tokens: Tensor,
        sparse: Tensor | None = None,
        fine: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """SAM 2's object token, where the head has one, the IoU token, ``mask_tokens`` (N, C),
        HQ-SAM's, likewise, and the prompts' (B, T, C), after the two-way transformer, (B, .., C);
        and the up-scaled map, (B, C / 8, 4h, 4w)."""
        B, C, h, w = x.shape
        first = [self.obj_score_token.weight] if self.fine else []
        last = [] if self.hq is None else [self.hq.hf_token.weight]
        tokens = torch.cat([*first, self.iou_token.weight, mask_tokens, *last]).expand(B, -1, -1)
        if sparse is not None:
            tokens = torch.cat([tokens, sparse], 1)
        tokens, x = self.transformer(x, position.to(x.dtype).expand(B, -1, -1, -1), tokens)
        x = x.transpose(1, 2).reshape(B, C, h, w)  # (B, h * w, C) -> (B, C, h, w)
        return tokens, self.upscaled(x, fine)

    def upscaled(self, x: Tensor, fine: Sequence[Tensor] | None) -> Tensor:
        """(B, C, h, w) to (B, C / 8, 4h, 4w)."""
        if not self.fine:
            return self.output_upscaling(x)
        first, norm, activation, second, last = self.output_upscaling
        x = activation(norm(_added(first(x), fine[1])))
        return last(_added(second(x), fine[0]))


def _added(x: Tensor, common: Tensor) -> Tensor:
    """(B, ..) and (B / n, ..), each of which is added to n in a row."""
    return (x.unflatten(0, (common.shape[0], -1)) + common[:, None]).flatten(0, 1)


def exact_position(pe_layer: nn.Module, x: Tensor) -> Tensor:
    """SAM's random positional encoding (C, h, w) of a map (.., h, w); not in bfloat16, which would
    blur neighbouring cells."""
    with torch.autocast(x.device.type, enabled=False):
        return pe_layer(tuple(x.shape[-2:]))


def to_image(logits: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """(B, N, 4h, 4w) to (B, N, *size): up to the encoder's zero-padded input, then the padding is
    cut off.

    Args:
        stride: Image pixels per cell and axis of the map (h, w).

    Raises:
        ValueError: The map is not that of an input of this size.
    """
    h, w = (side // 4 for side in logits.shape[2:])
    padded = h * stride, w * stride
    if not all(0 <= long - short < 2 * stride for long, short in zip(padded, size, strict=True)):
        if size[0] % h or size[1] % w or size[0] * w != size[1] * h:
            raise ValueError(
                f'A map of {h} x {w} cells is not that of {size[0]} x {size[1]} pixels at '
                f'stride={stride}: set decode_head.stride to the pixels per cell of the last map '
                'that the encoder returns.'
            )
        padded = size  # of another stride, but nothing was padded
    return F.interpolate(logits, size=padded, mode='bilinear', align_corners=False)[
        ..., : size[0], : size[1]
    ]
