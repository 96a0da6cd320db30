"""The loss against its formula, in NumPy."""

import numpy as np
import pytest
import torch

from mmsam_peft.models.losses import SquaredDiceLoss


def test_formula():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 6, 5)), rng.choice([0, 1, 255], size=(3, 6, 5))
    labels[2] = 0
    expected = []
    for x, g in zip(logits, labels, strict=True):
        p, g = 1 / (1 + np.exp(-x[g != 255])), g[g != 255]
        expected.append(1 - (2 * (p * g).sum() + 1) / ((p * p).sum() + (g * g).sum() + 1))
    found = SquaredDiceLoss(loss_weight=5.0)(
        torch.from_numpy(logits)[:, None], torch.from_numpy(labels)
    )
    assert found.item() == pytest.approx(5 * np.mean(expected), rel=1e-12)
