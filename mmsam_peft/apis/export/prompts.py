"""What is exported of a model with prompts: an encoder of images and a decoder of prompts, with
the inputs and outputs of segment-anything's own export."""

from typing import Any

import torch
from torch import Tensor, nn

from ...models.decode_heads.prompted import stable_or_best
from ...models.decode_heads.sam_decoder import exact_position
from .network import Network
from .resampling import bilinear, sides_in_proportion

LONG_SIDE = 1024
"""Points are in pixels of an image that is resized to it, whatever the size of the network."""
SAM = dict(long_sides=(LONG_SIDE, LONG_SIDE), rounding='half_up')
FINE, DETAILS = ('high_res_feats_0', 'high_res_feats_1'), 'details'
"""What a decoder reads beside the embedding: SAM 2's, HQ-SAM's."""


class ImageEncoder(Network):
    """An image (H, W, 3), 0 to 255, or (1, C, H, W), normalised, to what the decoder reads of it:
    the embedding (1, C, h, w); SAM 2's maps (1, C / 8, 4h, 4w) and (1, C / 4, 2h, 2w); HQ-SAM's
    details (1, C / 8, 4h, 4w)."""

    def __init__(self, *about) -> None:
        super().__init__(*about)
        self.head = answering_head(self.model)
        self.names = maps_of(self.head)

    @property
    def axes(self) -> tuple:
        (axes,) = super().axes
        first = 1 if self.preprocessing else 0  # a single image has no axis of images
        return ({axis - first: length for axis, length in axes.items() if axis},)

    def examples(self) -> tuple:
        return (self.one(),)

    def one(self, seed: int = 0, size: tuple[int, int] | None = None) -> Tensor:
        image = self.example(1, seed, size)
        return image[0].float() if self.preprocessing else image  # as programs give it

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        images = images[None] if self.preprocessing else images
        maps = self.model.extract_feat(self.prepared(images))
        details = self.head.details(maps)
        last = () if details is None else (details,)
        return self.head._transform_inputs(maps), *(self.head.finer(maps) or ()), *last


class PromptDecoder(nn.Module):
    """The prompts of one object to masks, with the names of segment-anything's export.

    Args:
        encoder: Whose maps it reads.
    """

    names = ('masks', 'iou_predictions', 'low_res_masks')

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.model, self.geometry, self.head = encoder.model, encoder.geometry, encoder.head
        with torch.no_grad():
            self.maps = [*encoder(*encoder.examples())]
        self.places = [4 * side for side in self.maps[0].shape[2:]]
        """(4h, 4w)."""
        self.padded = tuple(self.head.stride * side // 4 for side in self.places)
        """The sides of the network's input, padding included."""

    @property
    def inputs(self) -> list[str]:
        points = ['point_coords', 'point_labels', 'mask_input', 'has_mask_input', 'orig_im_size']
        return [*maps_of(self.head), *points]

    @property
    def axes(self) -> tuple:
        points = {1: torch.export.Dim('points', min=1)}
        sides = (torch.export.Dim(name, min=2) for name in ('mask_height', 'mask_width'))
        mask: dict[int, object] = dict(zip((2, 3), sides, strict=True))
        return [{} for _ in maps_of(self.head)], points, points, mask, {}, {}

    def examples(self) -> tuple:
        return self.maps, *prompts(3, (60, 90), self.places)

    def forward(
        self,
        maps: list[Tensor],
        coords: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """
        Args:
            maps: The encoder's.
            coords: Points (1, P, 2), x and y in pixels of the image at a long side of
                ``LONG_SIDE``.
            labels: (1, P): 1 on the object, 0 beside it, 2 and 3 the corners of a box, -1 none,
                which has to follow points unless there is a box, and for SAM 2 always.
            mask: Of an earlier answer, (1, 1, 4h, 4w); another size is resized.
            has_mask: 1 or 0, (1,).
            size: Height and width of the image, (2,), float32.

        Returns:
            Logits (1, 4, H, W) at the size of the image; the IoU (1, 4) that the model expects; the
            logits (1, 4, 4h, 4w). First the mask for a prompt that means one thing, then three.
        """
        x, *others = maps
        height, width = (size[axis].round().long().item() for axis in (0, 1))
        for side in (height, width):
            torch._check(side >= 2)
            torch._check(side <= 2**20)
        head, made = self.head, self.made(height, width)
        rows, columns = (
            bilinear(new, torch.full((), old, dtype=torch.float64), old)
            for new, old in zip(self.places, mask.shape[2:], strict=True)
        )
        there = has_mask.reshape(1, 1, 1, 1)
        dense = there * head.prompt_encoder.mask_downscaling(rows @ (mask @ columns.T))
        dense = dense + (1 - there) * head.no_mask_embed.weight[..., None, None]
        logits, iou, _ = head.decode_prompted(
            x + dense,
            exact_position(head.pe_layer, x),
            self.tokens(coords, labels, (height, width), made),
            None,
            others[:2] if head.fine else None,
            None if head.hq is None else others[-1],
        )
        if head.fine:
            single = stable_or_best(logits, iou)
            logits = torch.cat([single[0], logits[:, 1:]], 1)
            iou = torch.cat([single[1], iou[:, 1:]], 1)
        rows, columns = (
            bilinear(new, side, long) @ bilinear(long, short, short)
            for new, side, long, short in zip(
                (height, width), made, self.padded, self.places, strict=True
            )
        )
        return rows @ (logits @ columns.T), iou, logits

    def made(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The sides of the image in the network's input, without padding."""
        one = self.geometry
        if one.long_sides:
            return sides_in_proportion(height, width, one.long_sides, one.rounding)
        rows, columns = (torch.full((), side, dtype=torch.float64) for side in one.size)
        return rows, columns

    def tokens(
        self, coords: Tensor, labels: Tensor, size: tuple[int, int], made: tuple[Tensor, Tensor]
    ) -> Tensor:
        """(1, P, C), as SAM's prompt encoder makes them of points and corners of boxes."""
        encoder, head = self.head.prompt_encoder, self.head
        there = sides_in_proportion(*size, **SAM)
        scale = torch.stack([new / old for new, old in zip(made, there, strict=True)]).flip(0)
        kinds = [encoder.not_a_point_embed, *encoder.point_embeddings]
        kind = torch.cat([one.weight for one in kinds])[labels.long() + 1]
        places = encoder.places(coords * scale.float(), head.pe_layer, self.padded)
        return places * (labels != -1)[..., None] + kind


def answering_head(model: nn.Module) -> Any:
    """The head that answers to prompts."""
    head: Any = model.decode_head
    return head if head.answering is None else head.answering


def maps_of(head: nn.Module) -> list[str]:
    """What a decoder reads of an image."""
    finer = FINE if head.fine else ()
    return ['image_embeddings', *finer, *([] if head.hq is None else [DETAILS])]


def prompts(points: int, size: tuple[int, int], places: list[int], seed: int = 0) -> list[Tensor]:
    """Random prompts for an image of (H, W): clicks, the corners of a box, and a point of none."""
    generator = torch.Generator().manual_seed(seed)
    shown = torch.tensor(size[::-1]) * LONG_SIDE / max(size)
    coords = torch.rand(1, points, 2, generator=generator)
    coords[:, 3:] = coords[:, 3:].sort(1).values
    labels = torch.tensor([[1, -1, 0, 2, 3][:points]], dtype=torch.float32)
    mask = torch.randn(1, 1, *places, generator=generator)
    return [coords * shown, labels, mask, torch.tensor([seed % 2.0]), torch.tensor(size).float()]
