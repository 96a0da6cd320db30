import numpy as np
import pytest
import torch

from mmsam_peft.layers import attention, chunked
from mmsam_peft.layers.attention import Attention, rel_pos_rows, resize_rel_pos


def only(monkeypatch, name):
    form = getattr(attention, f'{name}_attention')
    monkeypatch.setitem(attention.FORMS, 'cpu', lambda q, k: form)


@pytest.fixture(params=['bias', 'concat', 'chunked', 'many chunks'])
def form(request, monkeypatch):
    """The fused form; of chunks also such that divide neither heads nor queries."""
    name = 'chunked' if request.param == 'many chunks' else request.param
    only(monkeypatch, name)
    if request.param == 'many chunks':
        monkeypatch.setattr(chunked, 'CHUNK', 100)


def twins(randomise, size, dim=24):
    fused, eager = (Attention(dim, 2, size, kind).double() for kind in ('fused', 'eager'))
    eager.load_state_dict(randomise(fused).state_dict())
    return fused, eager


def by_hand(layer, x, extra=None):
    """The formula, pair by pair: what the cells of the map get, and what the extra tokens get."""
    B, H, W, C = x.shape
    cells = [(i, j) for i in range(H) for j in range(W)]
    if extra is None:
        tokens = x.flatten(1, 2)
    else:
        owners = [extra[b * len(extra) // B] for b in range(B)]
        tokens = torch.cat([x.flatten(1, 2), torch.stack(owners)], 1)
        cells += [None] * extra.shape[1]
    q, k, v = layer.qkv(tokens).reshape(B, len(cells), 3, layer.num_heads, -1).unbind(2)
    out = torch.zeros_like(v)
    for b in range(B):
        for h in range(layer.num_heads):
            for n, cell in enumerate(cells):
                query, logits = q[b, n, h], []
                for m, other in enumerate(cells):
                    logit = query @ k[b, m, h] / query.numel() ** 0.5
                    if cell is not None and other is not None:
                        logit = logit + query @ layer.rel_pos_h[cell[0] - other[0] + H - 1]
                        logit = logit + query @ layer.rel_pos_w[cell[1] - other[1] + W - 1]
                    logits.append(logit)
                weights = torch.stack(logits).softmax(0)
                out[b, n, h] = sum(weight * v[b, m, h] for m, weight in enumerate(weights))
    out = layer.proj(out.flatten(2))
    return out[:, : H * W].reshape(x.shape), out[:, H * W :]


@pytest.mark.parametrize('size', [(3, 3), (2, 4)])
def test_eager_is_the_formula(randomise, size):
    _, eager = twins(randomise, size)
    x = torch.randn(2, *size, 24, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(eager(x), by_hand(eager, x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('owners', [1, 2, 4])
def test_extra_tokens_have_no_position(randomise, form, owners):
    x, extra = (
        torch.randn(4, 2, 3, 24, dtype=torch.float64),
        torch.randn(owners, 2, 24, dtype=torch.float64),
    )
    for layer in twins(randomise, (2, 3)):
        with torch.no_grad():
            expected = by_hand(layer, x, extra)
            torch.testing.assert_close(layer(x, extra), expected[0], rtol=1e-12, atol=1e-12)
            for got, wanted in zip(layer.attend_both(x, extra), expected, strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('size', [(7, 7), (4, 9), (9, 4), (1, 1), (1, 5)])
@pytest.mark.parametrize('extra', ['none', 'seen', 'attends too'])
def test_fused_equals_eager(randomise, form, size, extra):
    results = []
    for layer in twins(randomise, size):
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(2, *size, 24, dtype=torch.float64, generator=generator).requires_grad_()
        prompts = torch.randn(1, 3, 24, dtype=torch.float64, generator=generator).requires_grad_()
        if extra == 'attends too':
            outputs = layer.attend_both(x, prompts)
        else:
            outputs = [layer(x, prompts if extra == 'seen' else None)]
        inputs = [x, *layer.parameters()] + [prompts] * (extra != 'none')
        results.append([*outputs, *torch.autograd.grad(sum((y**3).sum() for y in outputs), inputs)])
    for fused, eager in zip(*results, strict=True):
        torch.testing.assert_close(fused, eager, rtol=1e-10, atol=1e-10)


def test_without_extra_tokens_nothing_is_copied_for_them():
    bias = torch.randn(2, 6, 5)
    assert attention._extend(bias, 6, 5) is bias
    assert attention._extend(bias, 6, 7).equal(torch.cat([bias, torch.zeros(2, 6, 2)], 2))


@pytest.mark.parametrize(
    'maps, queries, dtype, trained, form',
    [
        (1, 196, torch.float32, True, 'eager'),
        (1, 196, torch.float32, False, 'bias'),
        (13, 196, torch.float32, True, 'eager'),  # 2 heads: 998,816 logits
        (14, 196, torch.float32, True, 'chunked'),
        (14, 196, torch.float32, False, 'chunked'),
        (1, 196, torch.bfloat16, True, 'chunked'),
        (1, 4096, torch.float64, True, 'chunked'),
    ],
)
def test_forms_on_a_cpu(maps, queries, dtype, trained, form):
    q = torch.empty(maps, 2, queries, 8, dtype=dtype, requires_grad=trained)
    assert attention.fused_form(q, q) is getattr(attention, f'{form}_attention')


@pytest.mark.parametrize('queries, form', [(256, 'bias'), (257, 'concat'), (4096, 'concat')])
def test_forms_elsewhere(queries, form):
    q = torch.empty(1, 2, queries, 8, device='meta')
    assert attention.fused_form(q, q) is getattr(attention, f'{form}_attention')


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [False, True])
def test_chunks_are_precise_in_half_precision(monkeypatch, dtype, autocast):
    """The rounded inputs are multiplied in float32: what is left is the rounding of the result,
    gradients included."""
    monkeypatch.setattr(chunked, 'CHUNK', 1000)
    shapes = [(1, 2, 24, 16)] * 3 + [(1, 2, 24, 4), (1, 2, 24, 6)]
    inputs = [(2 * torch.randn(shape)).to(dtype) for shape in shapes]
    results = []
    for precision, form in (
        (dtype, attention.chunked_attention),
        (torch.float64, attention.eager_attention),
    ):
        leaves = [x.detach().to(precision).requires_grad_() for x in inputs]
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast and precision == dtype):
            y = form(*leaves, 0.25)
        results.append([y, *torch.autograd.grad(y, leaves, torch.ones_like(y).cumsum(-1))])
    for got, exact in zip(*results, strict=True):
        assert got.dtype == dtype
        assert (got - exact).norm() < 0.5 * torch.finfo(dtype).eps * exact.norm()


@pytest.mark.parametrize('distances', [5, 13, 31])
def test_relative_positions_resize_linearly(distances):
    table = torch.randn(13, 4, dtype=torch.float64)
    centres = (np.arange(distances) + 0.5) * 13 / distances - 0.5
    expected = np.stack(
        [np.interp(centres, np.arange(13), column) for column in table.T.numpy()], -1
    )
    np.testing.assert_allclose(
        resize_rel_pos(table, distances), expected, atol=1e-5
    )  # float32 inside


def test_rows_are_distances():
    table = torch.randn(9, 4)
    rows = rel_pos_rows(table, 5)
    assert all(torch.equal(rows[i, :, m], table[i - m + 4]) for i in range(5) for m in range(5))


@pytest.mark.parametrize('name, channels', [('chunked', 3 * 8 + 12), ('concat', 4 * 24 + 1)])
def test_what_is_kept_for_the_backward_pass(monkeypatch, name, channels):
    """Of a frozen layer, for each head of each token: q, k, v and the position terms; or q', k',
    v', what comes out and a sum of exponentials. No matrix, no queries a second time for the
    position terms, and nothing where nothing is trained."""
    only(monkeypatch, name)
    layer, kept = Attention(16, 2, (6, 6)).requires_grad_(False), {}
    own = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.randn(3, 6, 6, 16))
        assert not kept
        layer(torch.randn(3, 6, 6, 16, requires_grad=True))
    tables = 2 * 6 * 6 * 8 * 4
    assert (
        sum(x.untyped_storage().nbytes() for pointer, x in kept.items() if pointer not in own)
        <= 3 * 2 * 36 * channels * 4 + tables
    )
