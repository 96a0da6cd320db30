import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmsam_peft.models.losses import StructureLoss


def reference(logits, labels, ignore_index=255, plain=False):
    """The formula, pixel by pixel."""
    losses = []
    for x, g in zip(logits, labels, strict=True):
        height, width = g.shape
        weighted_bce = weights = inter = union = 0.0
        for i in range(height):
            for j in range(width):
                if g[i, j] == ignore_index:
                    continue
                window = g[max(i - 15, 0) : i + 16, max(j - 15, 0) : j + 16]
                weight = 1 + 5 * abs((window == 1).sum() / 961 - g[i, j])
                prob = 1 / (1 + math.exp(-x[i, j]))
                of_bce = 1 if plain else weight
                weighted_bce -= of_bce * math.log(prob if g[i, j] else 1 - prob)
                weights += of_bce
                inter += weight * prob * g[i, j]
                union += weight * (prob + g[i, j] - prob * g[i, j])
        losses.append(weighted_bce / weights + 1 - (inter + 1) / (union + 1))
    return np.mean(losses)


@pytest.mark.parametrize('bce', ['weighted', 'plain'])
@pytest.mark.parametrize('ignored', [0.0, 0.2])
def test_formula(ignored, bce):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 40, 37))
    labels = np.zeros((2, 40, 37), dtype=np.int64)
    labels[0, 5:30, 10:] = 1  # touches the border
    labels[1, 18:22, 3:9] = 1
    labels[rng.random(labels.shape) < ignored] = 255
    value = StructureLoss(bce)(torch.from_numpy(logits).unsqueeze(1), torch.from_numpy(labels))
    expected = reference(logits, labels, plain=bce == 'plain')
    assert value.item() == pytest.approx(expected, rel=1e-10)


def test_plain_is_what_pytorch_makes_of_the_programs():
    """Their ``reduce='none'`` is an old argument, true as any text: the mean over the batch."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 40, 50, generator=generator)
    mask = (torch.rand(2, 1, 40, 50, generator=generator) > 0.6).float()
    weight = 1 + 5 * (F.avg_pool2d(mask, 31, stride=1, padding=15) - mask).abs()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        bce = F.binary_cross_entropy_with_logits(logits, mask, reduce='none')
    bce = (weight * bce).sum((2, 3)) / weight.sum((2, 3))
    probs = logits.sigmoid()
    inter, union = ((weight * one).sum((2, 3)) for one in (probs * mask, probs + mask))
    expected = (bce + 1 - (inter + 1) / (union - inter + 1)).mean()
    got = StructureLoss('plain')(logits, mask[:, 0].long())
    assert got.item() == pytest.approx(expected.item(), rel=1e-6)
    with pytest.raises(ValueError, match="bce='none'.*'weighted' or 'plain'"):
        StructureLoss('none')


def test_undecided_prediction_of_an_empty_mask():
    """Logits 0: cross-entropy ln 2 whatever the weights; all weights 1, so the union is half the 64
    pixels."""
    value = StructureLoss()(torch.zeros(3, 1, 8, 8), torch.zeros(3, 8, 8, dtype=torch.long))
    assert value.item() == pytest.approx(math.log(2) + 1 - 1 / (32 + 1), rel=1e-5)


def test_boundary_weighs_more_in_the_cross_entropy():
    """What the reference program misses: an error at the boundary costs more than one far from
    it."""
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[:, :, :32] = 1
    near, far = torch.where(labels == 1, 20.0, -20.0).unsqueeze(1).repeat(2, 1, 1, 1).split(1)
    near[..., 32, 33] *= -1
    far[..., 32, 60] *= -1
    loss = StructureLoss()
    assert loss(near, labels).item() > 1.5 * loss(far, labels).item()
