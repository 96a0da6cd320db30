import numpy as np
import pytest
import torch

from mmsam_peft.models.backbones import attention
from mmsam_peft.models.backbones.attention import Attention, rel_pos_rows, resize_rel_pos


@pytest.fixture(params=['bias', 'concat'])
def form(request, monkeypatch):
    monkeypatch.setattr(attention, 'MASK_TOKENS', {'bias': 10 ** 9, 'concat': 0}[request.param])


def twins(randomise, size, dim=24):
    fused, eager = (Attention(dim, 2, size, kind).double() for kind in ('fused', 'eager'))
    eager.load_state_dict(randomise(fused).state_dict())
    return fused, eager


def by_hand(layer, x):
    """The formula, pair by pair."""
    B, H, W, C = x.shape
    q, k, v = layer.qkv(x).reshape(B, H, W, 3, layer.num_heads, -1).unbind(3)
    out = torch.zeros_like(v)
    cells = [(i, j) for i in range(H) for j in range(W)]
    for b in range(B):
        for h in range(layer.num_heads):
            for i, j in cells:
                query = q[b, i, j, h]
                logits = torch.stack([
                    (query @ k[b, m, n, h]) / query.numel() ** 0.5
                    + query @ layer.rel_pos_h[i - m + H - 1] + query @ layer.rel_pos_w[j - n + W - 1] for m, n in cells])
                weights = logits.softmax(0)
                out[b, i, j, h] = sum(weight * v[b, m, n, h] for weight, (m, n) in zip(weights, cells, strict=True))
    return layer.proj(out.reshape(B, H, W, C))


@pytest.mark.parametrize('size', [(3, 3), (2, 4)])
def test_eager_is_the_formula(randomise, size):
    _, eager = twins(randomise, size)
    x = torch.randn(2, *size, 24, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(eager(x), by_hand(eager, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('size', [(7, 7), (4, 9), (9, 4), (1, 1), (1, 5)])
def test_fused_equals_eager(randomise, form, size):
    results = []
    for layer in twins(randomise, size):
        x = torch.randn(2, *size, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = layer(x)
        results.append([y, *torch.autograd.grad((y ** 3).sum(), [x, *layer.parameters()])])
    for fused, eager in zip(*results, strict=True):
        torch.testing.assert_close(fused, eager, rtol=1e-10, atol=1e-10)


def test_large_maps_take_the_form_without_a_mask(monkeypatch):
    taken = []
    for form in ('bias', 'concat'):
        monkeypatch.setattr(attention, f'{form}_attention', lambda q, *_, form=form: taken.append((form, q.shape[2])))
    for tokens in (attention.MASK_TOKENS, attention.MASK_TOKENS + 1):
        attention.fused_attention(torch.zeros(1, 1, tokens, 8), *[None] * 5)
    assert taken == [('bias', attention.MASK_TOKENS), ('concat', attention.MASK_TOKENS + 1)]


@pytest.mark.parametrize('distances', [5, 13, 31])
def test_relative_positions_resize_linearly(distances):
    table = torch.randn(13, 4, dtype=torch.float64)
    centres = (np.arange(distances) + 0.5) * 13 / distances - 0.5
    expected = np.stack([np.interp(centres, np.arange(13), column) for column in table.T.numpy()], -1)
    np.testing.assert_allclose(resize_rel_pos(table, distances), expected, atol=1e-5)  # float32 inside


def test_rows_are_distances():
    table = torch.randn(9, 4)
    rows = rel_pos_rows(table, 5)
    assert all(torch.equal(rows[i, m], table[i - m + 4]) for i in range(5) for m in range(5))
