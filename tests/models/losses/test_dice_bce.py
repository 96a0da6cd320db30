import math

import numpy as np
import pytest
import torch

from mmsam_peft.models.losses import DiceBCELoss


@pytest.mark.parametrize(
    ('dice_weight', 'bce_weight'), [(1.0, 1.0), (2.0, 0.0), (0.0, 3.0), (0.3, 0.7)]
)
def test_formula(dice_weight, bce_weight):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 6, 5)), (rng.random((3, 6, 5)) < 0.3).astype(np.int64)
    labels[2, :, 0] = 255
    losses = []
    for x, g in zip(logits, labels, strict=True):
        x, g = x[g != 255], g[g != 255]
        prob = 1 / (1 + np.exp(-x))
        dice = 1 - (2 * prob[g == 1].sum() + 1) / (prob.sum() + g.sum() + 1)
        bce = -np.log(np.where(g == 1, prob, 1 - prob)).mean()
        losses.append(dice_weight * dice + bce_weight * bce)
    loss = DiceBCELoss(dice_weight, bce_weight, loss_weight=0.5)
    value = loss(torch.from_numpy(logits).unsqueeze(1), torch.from_numpy(labels))
    assert value.item() == pytest.approx(0.5 * np.mean(losses), rel=1e-12)


def test_undecided_prediction():
    """Logits 0, 4 of 16 pixels foreground: overlap 2, sizes 8 and 4."""
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[:, 0] = 1
    expected = 1 - (2 * 2 + 1) / (8 + 4 + 1) + math.log(2)
    assert DiceBCELoss()(torch.zeros(1, 1, 4, 4), labels).item() == pytest.approx(
        expected, rel=1e-5
    )
