import math

import numpy as np
import pytest
import torch

from mmsam_peft.models.losses import BalancedBCELoss


def test_formula():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 6, 5)), (rng.random((3, 6, 5)) < 0.2).astype(np.int64)
    labels[0, 0] = 255
    losses = []
    for x, g in zip(logits, labels, strict=True):
        x, g = x[g != 255], g[g != 255]
        positive, negative, total = (g == 1).sum(), (g == 0).sum(), len(g)
        prob = 1 / (1 + np.exp(-x))
        log_likelihood = (
            negative / total * np.log(prob[g == 1]).sum()
            + positive / total * np.log(1 - prob[g == 0]).sum()
        )
        losses.append(-log_likelihood / total)
    value = BalancedBCELoss()(torch.from_numpy(logits).unsqueeze(1), torch.from_numpy(labels))
    assert value.item() == pytest.approx(np.mean(losses), rel=1e-12)


def test_undecided_prediction():
    """Logits 0 and a quarter of foreground: 2 * 1/4 * 3/4 ln 2."""
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[:, 0] = 1
    assert BalancedBCELoss()(torch.zeros(1, 1, 4, 4), labels).item() == pytest.approx(
        0.375 * math.log(2), rel=1e-5
    )


def test_classes_weigh_the_same():
    """At logits 0 the gradients of foreground and background cancel, however small the
    foreground."""
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, 0, :3] = 1
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    BalancedBCELoss()(logits, labels).backward()
    foreground = logits.grad[0, 0, 0, :3].sum().item()
    assert foreground == pytest.approx(-3 / 64 * 61 / 64 / 2, rel=1e-5)
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize('label', [0, 1])
def test_one_class_only_gives_zero(label):
    assert BalancedBCELoss()(torch.randn(1, 1, 4, 4), torch.full((1, 4, 4), label)).item() == 0
