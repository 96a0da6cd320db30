"""Mask classification: each query predicts a class and a binary mask."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from ...registry import MODELS
from .binary import divide
from .matching import assign, matching_costs
from .points import sample_labels, sample_logits, uncertain_points


@MODELS.register_module()
class SetPredictionLoss(nn.Module):
    """Losses of queries matched one to one with the masks of the classes an image shows; logits
    that are not finite give losses that are not.

    A matched query learns its class and mask, every other one "no object" (index K). Masks are
    compared at points: for the matching at uniform ones that all queries of an image share, for the
    losses at mostly uncertain ones, drawn per mask. The classification loss is the weighted mean
    over queries; the mask losses are summed over the matched masks and divided by their number
    (mean over processes, at least 1).

    Points on ignored pixels do not count, and an image of nothing but ignored pixels teaches
    nothing. All logits get a gradient in every step, if only a zero. The matching runs on the CPU,
    after one transfer per batch; on a GPU, bitwise repeatability ends with the backward pass of
    ``grid_sample``.

    Source: Cheng et al., MaskFormer (NeurIPS 2021, arXiv 2107.06278), section 3; points:
    Mask2Former (CVPR 2022, arXiv 2112.01527), section 3.3.

    Args:
        num_classes: K, the background included where it is a class.
        num_points: Points per mask.
        class_weight, mask_weight, dice_weight: Factors on the losses.
        cost_class, cost_mask, cost_dice: Factors on the costs of the matching.
        no_object_weight: Weight of "no object" in the classification loss.
        oversample_ratio: Candidates per point when looking for uncertain ones, at least
            ``importance_ratio``.
        importance_ratio: Share of uncertain points.
    """

    def __init__(
        self,
        num_classes: int,
        num_points: int = 12544,
        class_weight: float = 10.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        cost_class: float = 2.0,
        cost_mask: float = 5.0,
        cost_dice: float = 5.0,
        no_object_weight: float = 0.1,
        oversample_ratio: float = 3.0,
        importance_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_points = num_points
        self.class_weight, self.mask_weight, self.dice_weight = (
            class_weight,
            mask_weight,
            dice_weight,
        )
        self.cost_class, self.cost_mask, self.cost_dice = cost_class, cost_mask, cost_dice
        self.no_object_weight = no_object_weight
        self.oversample_ratio = oversample_ratio
        self.importance_ratio = importance_ratio

    def forward(
        self, class_logits: Tensor, mask_logits: Tensor, labels: Tensor, ignore_index: int = 255
    ) -> dict[str, Tensor]:
        """Scalars ``loss_cls``, ``loss_mask``, ``loss_dice``.

        Args:
            class_logits: (B, N, K + 1).
            mask_logits: (B, N, h, w), of any resolution.
            labels: (B, H, W) int64, in 0 ... K - 1 or ignore_index.

        Raises:
            ValueError: The class logits are not for K classes, or a label is none of them.
        """
        if class_logits.shape[-1] != self.num_classes + 1:
            raise ValueError(
                f'got logits for {class_logits.shape[-1]} classes, expected num_classes + 1 = '
                f'{self.num_classes + 1} with '
                '"no object" last: give head and loss the same num_classes'
            )
        with torch.autocast(class_logits.device.type, enabled=False):
            class_logits, mask_logits = class_logits.float(), mask_logits.float()
            image, query, klass = self.match(class_logits, mask_logits, labels, ignore_index)
            loss_cls = self._class_loss(
                class_logits, image, query, klass, (labels != ignore_index).flatten(1).any(1)
            )
            loss_cls = loss_cls * _one_if_finite(class_logits, mask_logits)
            loss_mask, loss_dice = self._mask_losses(
                mask_logits[image, query], labels, image, klass, ignore_index
            )
        return dict(
            loss_cls=self.class_weight * loss_cls,
            loss_mask=self.mask_weight * loss_mask,
            loss_dice=self.dice_weight * loss_dice,
        )

    @torch.no_grad()
    def match(
        self, class_logits: Tensor, mask_logits: Tensor, labels: Tensor, ignore_index: int = 255
    ) -> Tensor:
        """Matches (3, M): image, query and class of each mask; see
        :func:`~mmsam_peft.models.losses.matching.assign`."""
        batch, queries = class_logits.shape[:2]
        points = torch.rand(batch, self.num_points, 2, device=labels.device)
        point_labels = sample_labels(labels, torch.arange(batch, device=labels.device), points)
        point_logits = sample_logits(mask_logits, points)
        cost_class, cost_mask, cost_dice = matching_costs(
            class_logits, point_logits, point_labels, ignore_index
        )
        costs = (
            self.cost_class * cost_class + self.cost_mask * cost_mask + self.cost_dice * cost_dice
        )

        known = (labels >= 0) & (labels < self.num_classes)
        slots = labels.where(known, self.num_classes + 1).where(
            labels != ignore_index, self.num_classes
        )
        present = costs.new_zeros(batch, self.num_classes + 2).scatter_(
            1, slots.flatten(1), 1
        )  # classes, ignored, unknown
        on_host = torch.cat((costs.flatten(1), present), dim=1).cpu()  # the one transfer
        costs, present = on_host.split((self.num_classes * queries, self.num_classes + 2), dim=1)
        if present[:, -1].any():
            raise ValueError(
                'labels hold a value that is no class and not ignore_index, expected 0 ... '
                f'{self.num_classes - 1} or '
                f'{ignore_index}: make num_classes and ignore_index fit the data set'
            )
        matches = assign(
            costs.view(batch, self.num_classes, queries).numpy(),
            present[:, : self.num_classes].bool().numpy(),
        )
        return torch.from_numpy(matches).to(labels.device)

    def _class_loss(
        self, class_logits: Tensor, image: Tensor, query: Tensor, klass: Tensor, annotated: Tensor
    ) -> Tensor:
        """Weighted mean cross-entropy over the queries of annotated (B,) images."""
        target = torch.full(class_logits.shape[:2], self.num_classes, device=class_logits.device)
        target[image, query] = klass
        weight = (
            torch.where(target == self.num_classes, self.no_object_weight, 1.0) * annotated[:, None]
        )
        losses = F.cross_entropy(class_logits.transpose(1, 2), target, reduction='none')
        return divide((weight * losses).sum(), weight.sum())

    def _mask_losses(
        self, logits: Tensor, labels: Tensor, image: Tensor, klass: Tensor, ignore_index: int
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and Dice loss of matched masks (M, h, w)."""
        points = uncertain_points(
            logits,
            labels,
            image,
            ignore_index,
            self.num_points,
            self.oversample_ratio,
            self.importance_ratio,
        )
        point_labels = sample_labels(labels, image, points)
        valid = (point_labels != ignore_index).float()
        masks = (point_labels == klass[:, None]).float()  # (M, P)
        logits = sample_logits(logits[:, None], points).squeeze(1)
        probs = logits.sigmoid()

        bce = F.binary_cross_entropy_with_logits(logits, masks, reduction='none')
        bce = divide((valid * bce).sum(1), valid.sum(1))
        dice = 1 - (2 * (probs * masks).sum(1) + 1) / ((valid * (probs + masks)).sum(1) + 1)
        num_masks = torch.tensor(float(len(logits)), device=logits.device)
        all_reduce(num_masks, 'mean')
        num_masks = num_masks.clamp(min=1)
        return bce.sum() / num_masks, dice.sum() / num_masks


def _one_if_finite(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """1, or NaN where a logit is not finite: of a query that nothing was matched with, no loss
    would show it."""
    return 1 + 0 * (class_logits.detach().sum() + mask_logits.detach().sum())


def semantic_logits(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Class scores (B, K, h, w) of queries: log(sum_q softmax(class)_qk sigmoid(mask)_q), in
    float32.

    The logarithm makes MMSegmentation's softmax return the scores themselves, normalised; the best
    class stays the best.

    Source: MaskFormer (arXiv 2107.06278), section 3.4, semantic inference.

    Args:
        class_logits: (B, N, K + 1), "no object" last.
        mask_logits: (B, N, h, w).
    """
    with torch.autocast(class_logits.device.type, enabled=False):
        classes = class_logits.float().softmax(-1)[..., :-1]
        scores = torch.einsum('bqk,bqhw->bkhw', classes, mask_logits.float().sigmoid())
        return scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
