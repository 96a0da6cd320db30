"""Training a head on prompts: boxes and clicks, corrected by further clicks within the step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...measures.clicks import random_click
from ..prompt_encoders import Prompts

NO_POINT = (0.0, 0.0, -1)


@dataclass
class Objects:
    """N objects of a batch that are prompted alike, by a box each or by a click each.

    Attributes:
        image: (N,), the image of each.
        target: (N, 4h, 4w) of the logits, as far as they show the image: 1 on the object, 0 beside
            it, or ignored.
        middles: Which pixels' values these are: rows and columns.
        points: x, y and label of the clicks of each.
        boxes: (N, 4), or None.
        seeds: For the clicks to come.
    """

    image: Tensor
    target: Tensor
    middles: tuple[np.ndarray, np.ndarray]
    points: list[list[tuple[float, float, int]]]
    boxes: Tensor | None
    seeds: list[list[int]]

    def __len__(self) -> int:
        return len(self.seeds)

    def prompts(self, masks: Tensor | None) -> Prompts:
        """All that is known so far, with the logits (N, 1, 4h, 4w) of the last answer."""
        device = self.target.device
        points = torch.tensor(self.points, device=device).reshape(len(self), -1, 3)
        return Prompts(self.image, points[..., :2], points[..., 2].long(), self.boxes, masks)


class PromptLoss(nn.Module):
    """The loss of a head that answers with prompts and without.

    ``loss = none * (loss without a prompt) + (1 - none) * (loss with one)``: what drawing images
    without prompts with the probability ``none`` gives on average, with less noise, and with
    every parameter in every step.

    An object answers to a box or a click first, then up to ``rounds - 1`` times to one more click,
    in the largest error of its answer before, which it gets back as logits. The first answer is
    trained and one of the later, drawn evenly; those between them are computed without gradients,
    and no gradient goes from an answer to the one before. So the memory is that of two answers; the
    image is encoded once. A first click may mean several things: of the three masks for it the one
    that overlaps most counts, and SAM's single mask as well. A mask's loss are the head's own
    losses for this object against all else, at the size of the logits, a quarter of the image's by
    side; beside them stands the squared error of the predicted IoU of every mask.

    Source: Kirillov et al., Segment Anything (arXiv 2304.02643), appendix A.

    Args:
        none: The share of the loss without prompts.
        rounds: Answers of an object, at most.
        iou_weight: Of the squared error of the predicted IoU.
        keep: Of ``keep_loss``, which the segmentor adds, as it needs the base model.

    Raises:
        ValueError: ``none`` is no share below 1; no rounds.
    """

    def __init__(
        self, none: float = 0.2, rounds: int = 4, iou_weight: float = 1.0, keep: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= none < 1 or type(rounds) is not int or rounds < 1:
            raise ValueError(
                f'loss_prompts has none={none}, rounds={rounds}: expected a share from 0 to below '
                '1, and at least 1 round.'
            )
        self.none, self.rounds, self.iou_weight, self.keep = none, rounds, iou_weight, keep

    def forward(
        self,
        head: nn.Module,
        maps: tuple[Tensor, ...],
        samples: list,
        labels: Tensor,
        without: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """The losses by name, and the mean IoU of the first and the later answers,
        ``prompted_iou_first`` and ``prompted_iou_later``.

        Args:
            head: With ``prompted`` and ``losses``.
            maps: Of the encoder.
            samples: With what ``SamplePrompts`` has drawn.
            labels: (B, H, W) in {0, 1, ignored}.
            without: The losses without prompts.

        Raises:
            ValueError: The samples have no prompts.
        """
        losses = {name: self.none * value for name, value in without.items()}
        # every process of a parallel training has a gradient for every parameter in every step
        tied = 0 * sum(one.sum() for one in head.parameters() if one.requires_grad)
        cells = [4 * side for side in head._transform_inputs(maps).shape[2:]]
        found = gather(samples, labels, cells, head.stride, head.ignore_index)
        groups = [group for group in found if len(group)]
        total = sum(map(len, groups))
        prompted, ious = tied, []
        iou_error = torch.zeros_like(tied)
        for group in groups:
            values = self._rounds(head, maps, group)
            share = len(group) / total
            prompted = prompted + share * torch.stack([value for value, _, _ in values]).mean()
            iou_error = iou_error + share * torch.stack([value for _, value, _ in values]).mean()
            ious.append(share * torch.stack([iou for *_, iou in (values[0], values[-1])]))
        losses['loss_prompted'] = (1 - self.none) * prompted
        losses['loss_iou'] = (1 - self.none) * self.iou_weight * iou_error
        if ious:
            losses['prompted_iou_first'], losses['prompted_iou_later'] = sum(ious)
        return losses

    def _rounds(
        self, head: nn.Module, maps: tuple[Tensor, ...], objects: Objects
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Loss, error of the predicted IoU and real IoU of the answers that are trained, all ():
        means over the objects."""
        found, logits = [], None
        later = (
            np.random.default_rng(objects.seeds[0]).integers(1, self.rounds)
            if self.rounds > 1
            else 0
        )
        for number in range(later + 1):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number in (0, later)):
                ambiguous = number == 0 and objects.boxes is None
                loss, error, iou, logits = self._answer(head, maps, objects, logits, ambiguous)
            if number in (0, later):
                found.append((loss, error, iou))
            if number < later:
                click(objects, logits, number, head.ignore_index)
        return found

    def _answer(
        self,
        head: nn.Module,
        maps: tuple[Tensor, ...],
        objects: Objects,
        logits: Tensor | None,
        ambiguous: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss, error of the predicted IoU, real IoU, all (), and new logits (N, 1, 4h, 4w)."""
        prompts = objects.prompts(logits)
        asked = [
            head.prompted(maps, prompts, multimask)
            for multimask in ((True, False) if ambiguous else (False,))
        ]
        answers = [self._scored(head, masks, held, objects.target) for masks, held in asked]
        loss, error = (torch.stack([answer[i] for answer in answers]).mean() for i in (0, 1))
        return loss, error, *answers[0][2:]

    def _scored(
        self, head: nn.Module, logits: Tensor, predicted: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss of the best of the masks (N, M, 4h, 4w), error of ``predicted`` (N, M), real IoU of
        the best, and its logits (N, 1, 4h, 4w)."""
        masks = logits[..., : target.shape[1], : target.shape[2]]
        with torch.no_grad():
            valid = (target != head.ignore_index)[:, None]
            hard, soft = (overlap(one, target == 1, valid) for one in (masks > 0, masks.sigmoid()))
            best = soft.argmax(1)
        each = torch.arange(len(best), device=best.device)
        chosen = masks[each, best][:, None]
        each_loss = [one(chosen, target, ignore_index=head.ignore_index) for one in head.losses]
        loss = torch.stack(each_loss).sum()
        error = F.mse_loss(predicted.float(), hard)
        return loss, error, hard[each, best].mean(), logits[each, best][:, None].detach().float()


def overlap(masks: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """IoU (N, M) of masks or probabilities (N, M, H, W) with targets, bool (N, H, W), among the
    valid pixels, bool (N, 1, H, W); 1 where both are empty."""
    masks, target = masks.float() * valid, (target[:, None] & valid).float()
    both = (masks * target).sum((2, 3))
    either = masks.sum((2, 3)) + target.sum((2, 3)) - both
    return torch.where(either > 0, both / either.clamp(min=1e-6), 1.0)


def gather(
    samples: list, labels: Tensor, cells: Sequence[int], stride: int, ignore_index: int
) -> tuple[Objects, Objects]:
    """The objects of a batch with a box, and those with a click.

    Args:
        samples: With ``gt_objects`` (1, h, w), not padded, and ``prompts`` of ``SamplePrompts``.
        labels: (B, H, W), padded.
        cells: (4h, 4w), of the logits, which cover H x W and the encoder's padding.
        stride: Pixels per cell of the encoder's map.
    """
    rows, columns = (
        middles(number, side, stride) for number, side in zip(cells, labels.shape[1:], strict=True)
    )
    ignored = labels.cpu()[:, rows][:, :, columns] == ignore_index
    height, width = labels.shape[1:]
    groups = []
    for by_box in (True, False):
        image, target, points, boxes, seeds = [], [], [], [], []
        for number, sample in enumerate(samples):
            prompts = sample.metainfo.get('prompts')
            if prompts is None:
                raise ValueError(
                    'A model that trains with prompts got a sample without: add '
                    "dict(type='SamplePrompts') before PackSegInputs to the training pipeline, as "
                    'the setting prompts at the top of a config does.'
                )
            objects = sample.gt_objects.data[0].cpu()
            objects = F.pad(objects, (0, width - objects.shape[1], 0, height - objects.shape[0]))
            objects = objects[rows][:, columns]
            for one, box in enumerate(prompts['boxes']):
                if prompts['by_box'][one] != by_box:
                    continue
                here = (objects == one + 1).to(labels.dtype)
                image.append(number)
                target.append(here.masked_fill(ignored[number], ignore_index))
                points.append([] if by_box else [(*map(float, prompts['points'][one]), 1)])
                boxes.append(box)
                seeds.append([prompts['seed'], one])
        device = labels.device
        groups.append(
            Objects(
                torch.tensor(image, dtype=torch.long, device=device),
                torch.stack(target).to(device) if target else labels[:0],
                (rows, columns),
                points,
                torch.tensor(boxes, dtype=torch.float32, device=device) if by_box else None,
                seeds,
            )
        )
    return groups[0], groups[1]


@torch.no_grad()
def click(objects: Objects, logits: Tensor, number: int, ignore_index: int) -> None:
    """Gives each object one more click, in the largest error of the answer (N, 1, 4h, 4w); no point
    where nothing is wrong."""
    rows, columns = objects.middles
    seen = logits[:, 0, : len(rows), : len(columns)].cpu().numpy() > 0
    target = objects.target.cpu().numpy()
    for i, seed in enumerate(objects.seeds):
        rng = np.random.default_rng([*seed, number])
        found = random_click(seen[i], target[i] == 1, rng, target[i] != ignore_index)
        objects.points[i].append(
            NO_POINT
            if found is None
            else (float(columns[found[0]]), float(rows[found[1]]), found[2])
        )


def middles(cells: int, side: int, stride: int) -> np.ndarray:
    """The pixel in the middle of each cell of the logits that has its middle inside of the image.

    Args:
        cells: Of the logits along an axis, which cover the image and its padding.
        side: The image's, in pixels.
        stride: Pixels per cell of the encoder's map.
    """
    size = -(-side // stride) * stride / cells
    found = np.floor((np.arange(cells) + 0.5) * size).astype(int)
    return found[found < side]
