"""SAM's prompt encoder (Kirillov et al., "Segment Anything", 2023), for prompts of many images."""

import torch
from segment_anything.modeling import PromptEncoder as SAMPromptEncoder
from torch import Tensor, nn

from .prompts import Prompts

MASK_CHANNELS = 16
"""Inside of the layers that encode an earlier mask."""


class PromptEncoder(SAMPromptEncoder):
    """segment-anything's prompt encoder without the positional encoding and the no-mask embedding,
    which its head has already, for maps of any size.

    Args:
        dim: Channels C of the map and of the tokens.
        pad_boxes: A token of no point follows boxes too, as in SAM 2.
    """

    def __init__(self, dim: int, pad_boxes: bool = False) -> None:
        super().__init__(dim, (0, 0), (0, 0), MASK_CHANNELS)
        del self.pe_layer, self.no_mask_embed
        self.pad_boxes = pad_boxes

    def forward(
        self, prompts: Prompts, pe_layer: nn.Module, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor | None]:
        """Prompts of N objects as tokens (N, T, C), and their masks as maps (N, C, h, w), or None.

        T is P + 1 for points alone, which a token of no point follows, P + 2 with boxes (P + 3 with
        ``pad_boxes``), and 0 for masks alone.

        Args:
            pe_layer: The positional encoding of the head.
            size: (height, width) of the network's padded input, in pixels.
        """
        tokens = [self.of_points(prompts.points, prompts.labels, pe_layer, size)]
        boxes, padded = prompts.boxes, bool(prompts.points.shape[1])
        if boxes is not None:
            tokens.append(self.of_boxes(boxes, pe_layer, size))
            padded = self.pad_boxes
        if padded:
            tokens.append(self.not_a_point_embed.weight.expand(len(prompts), -1, -1))
        dense = None if prompts.masks is None else self.mask_downscaling(prompts.masks)
        return torch.cat(tokens, 1), dense

    def of_points(
        self, points: Tensor, labels: Tensor, pe_layer: nn.Module, size: tuple[int, int]
    ) -> Tensor:
        """(N, P, 2) and (N, P) to (N, P, C)."""
        kinds = [self.not_a_point_embed, *self.point_embeddings[:2]]
        kind = torch.cat([embedding.weight for embedding in kinds])[labels.long() + 1]
        return self.places(points, pe_layer, size) * (labels != -1)[..., None] + kind

    def of_boxes(self, boxes: Tensor, pe_layer: nn.Module, size: tuple[int, int]) -> Tensor:
        """(N, 4) to (N, 2, C): the corners at the top left and at the bottom right."""
        corners = torch.cat([embedding.weight for embedding in self.point_embeddings[2:]])
        return self.places(boxes.unflatten(1, (2, 2)), pe_layer, size) + corners

    def places(self, points: Tensor, pe_layer: nn.Module, size: tuple[int, int]) -> Tensor:
        """The encoding (N, P, C) of pixels' centres; not in bfloat16, which would blur them."""
        with torch.autocast(points.device.type, enabled=False):
            return pe_layer.forward_with_coords(points.float() + 0.5, size)
