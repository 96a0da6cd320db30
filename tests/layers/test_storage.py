"""Stored weights: what a bit more or less costs, the way back, products and their gradients."""

import pytest
import torch
import torch.nn.functional as F

from mmsam_peft.layers.storage import STORAGES, numbers, widen
from mmsam_peft.layers.stored_linear import stored_linear

ERROR = dict(bfloat16=0.002, int8=0.008, nf4=0.1)
"""The largest relative error of normal weights, as a norm."""
BITS = dict(bfloat16=16, int8=8.5, nf4=4.5)


@pytest.fixture(params=STORAGES)
def way(request):
    return request.param


def weights(rows: int = 96) -> torch.Tensor:
    return torch.randn(rows, 64, generator=torch.Generator().manual_seed(0)) * 0.02


def test_bits_and_error(way, relative):
    weight = weights()
    stored = STORAGES[way].store(weight)
    assert stored.nbytes * 8 == BITS[way] * weight.numel() and numbers(stored) == weight.numel()
    assert 0 < relative(widen(stored), weight) < ERROR[way]


@pytest.mark.parametrize('size', [1e-30, 0.02, 1e30])
def test_storing_again_changes_nothing(way, size):
    """So that a checkpoint, which has them in float32, gives the same model."""
    weight = weights(480) * size / 0.02
    weight[0], weight[1, :32] = 0, 0
    stored = STORAGES[way].store(weight)
    assert widen(stored)[0].eq(0).all() and widen(stored).isfinite().all()
    assert STORAGES[way].store(widen(stored)).equal(stored)


def test_nothing_hides_a_broken_weight(way):
    weight = weights()
    weight[3, 5] = torch.nan
    assert widen(STORAGES[way].store(weight))[3].isnan().any()


def test_nf4_is_the_papers():
    """Each block of 64 holds the paper's values times its largest, the nearest to the weights."""
    weight = weights(1)
    steps = widen(STORAGES['nf4'].store(weight)) / weight.abs().max()
    code = torch.tensor(STORAGES['nf4'].CODE)
    nearest = code[(weight / weight.abs().max()).T.sub(code).abs().argmin(1)]
    assert steps[0].allclose(nearest, atol=1e-6)


def test_nf4_refuses_layers_that_blocks_do_not_fill():
    with pytest.raises(ValueError, match=r"got a layer of \(3, 5\). Use base_dtype='int8'"):
        STORAGES['nf4'].store(torch.ones(3, 5))


@pytest.mark.parametrize('autocast', [None, torch.bfloat16, torch.float16])
def test_products_are_those_of_the_wide_weights(way, autocast):
    """Bit for bit, gradients too, whatever autocast computes in."""
    stored, bias = STORAGES[way].store(weights()), torch.randn(96, requires_grad=True)
    x, g = torch.randn(2, 5, 64, requires_grad=True), torch.randn(2, 5, 96)
    found = []
    for product, weight in ((stored_linear, stored), (F.linear, widen(stored))):
        with torch.autocast('cpu', autocast, enabled=autocast is not None):
            y = product(x, weight, bias)
        y.mul_(2)  # low-rank updates are added in place
        found.append((y, *torch.autograd.grad(y, (x, bias), g.to(y.dtype))))
    assert all(a.dtype == b.dtype for a, b in zip(*found, strict=True))
    for a, b in zip(*found, strict=True):
        assert a.equal(b) or autocast and torch.allclose(a, b, rtol=0.01, atol=0.01)


def test_a_weight_that_is_thawed_gets_its_gradient():
    weight = torch.nn.Parameter(STORAGES['bfloat16'].store(weights()))
    stored_linear(torch.ones(2, 64), weight, None).sum().backward()
    assert weight.grad.eq(2).all()


def test_the_backward_pass_keeps_no_wide_weight(way):
    stored, kept = STORAGES[way].store(weights()), []
    x = torch.randn(5, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        with torch.autocast('cpu', torch.bfloat16, enabled=way == 'bfloat16'):
            stored_linear(x, stored, None)
    assert stored.data_ptr() in {t.data_ptr() for t in kept}
    assert all(t.data_ptr() == stored.data_ptr() or t.shape[-1] == 64 and len(t) == 5 for t in kept)
