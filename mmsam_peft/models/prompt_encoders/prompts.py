"""What a user points at: clicks, boxes and earlier masks of objects in a batch of images."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prompts:
    """Prompts of N objects. All have as many points, or a box each, or a mask each; a point of
    label -1 is none and fills up a row.

    Args:
        image: (N,), the index of the object's image in the batch.
        points: (N, P, 2), x and y in pixels of the network's input, the top left one's centre being
            (0, 0); P may be 0.
        labels: (N, P): 1 on the object, 0 beside it, -1 for no point.
        boxes: (N, 4), x0, y0, x1, y1 in the same pixels.
        masks: (N, 1, 4h, 4w) for maps of h x w: logits of an earlier answer.

    Raises:
        ValueError: Tensors that do not fit each other; another label; a box without area; NaN or
            infinite numbers; no prompt at all.
    """

    image: Tensor
    points: Tensor
    labels: Tensor
    boxes: Tensor | None = None
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        number = len(self.image) if self.image.ndim == 1 else -1
        per_row = self.points.shape[1] if self.points.ndim == 3 else -1
        self._require_shape('image', (number,))
        self._require_shape('points', (number, per_row, 2))
        self._require_shape('labels', (number, per_row))
        self._require_shape('boxes', (number, 4))
        if self.masks is not None and (self.masks.ndim != 4 or self.masks.shape[:2] != (number, 1)):
            raise ValueError(
                f'Prompts.masks: got {tuple(self.masks.shape)}, expected one map of logits per '
                f'object, ({number}, 1, 4h, 4w).'
            )
        for name in ('image', 'labels'):
            if getattr(self, name).is_floating_point():
                raise ValueError(
                    f'Prompts.{name}: got {getattr(self, name).dtype}, expected whole numbers.'
                )
        for name in ('points', 'boxes', 'masks'):
            value = getattr(self, name)
            if value is not None and not value.isfinite().all():
                raise ValueError(f'Prompts.{name}: got NaN or infinite numbers.')
        if self.labels.numel() and not -1 <= self.labels.min() <= self.labels.max() <= 1:
            wrong = sorted(set(self.labels.flatten().tolist()) - {-1, 0, 1})
            raise ValueError(
                f'Prompts.labels: got {", ".join(map(str, wrong))}; a point is on the object (1), '
                'beside it (0), or none (-1).'
            )
        if self.boxes is not None and (self.boxes[:, :2] >= self.boxes[:, 2:]).any():
            empty = (self.boxes[:, :2] >= self.boxes[:, 2:]).any(1).nonzero()[0].item()
            raise ValueError(
                f'Prompts.boxes: got {self.boxes[empty].tolist()}, which has no area: expected x0, '
                'y0, x1, y1 with x0 < x1 and y0 < y1.'
            )
        if not per_row and self.boxes is None and self.masks is None:
            raise ValueError(
                'Prompts: got neither points nor boxes nor masks; expected one at least. Without a '
                'prompt, call the model itself.'
            )

    def _require_shape(self, name: str, shape: tuple[int, ...]) -> None:
        value = getattr(self, name)
        if value is not None and (-1 in shape or value.shape != shape):
            wanted = dict(image='(N,)', points='(N, P, 2)', labels='(N, P)', boxes='(N, 4)')
            raise ValueError(
                f'Prompts.{name}: got {tuple(value.shape)}, expected {wanted[name]} with '
                f'image of {tuple(self.image.shape)} and points of {tuple(self.points.shape)}.'
            )

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device | str) -> 'Prompts':
        """The same on another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Prompts(**{name: None if x is None else x.to(device) for name, x in values.items()})
