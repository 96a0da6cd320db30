import pytest
import torch

from mmsam_peft.layers import chunked


def inputs(maps, queries, keys, grid):
    torch.manual_seed(0)
    shapes = [
        (maps, queries, 8),
        (maps, keys, 8),
        (maps, keys, 8),
        (maps, queries, grid[0]),
        (maps, queries, grid[1]),
    ]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def by_hand(q, k, v, rel_h, rel_w, scale):
    W, out = rel_w.shape[2], torch.zeros_like(q)
    for m in range(len(q)):
        for n in range(q.shape[1]):
            logits = []
            for key in range(k.shape[1]):
                logit = scale * (q[m, n] @ k[m, key])
                if key < rel_h.shape[2] * W:
                    logit = logit + rel_h[m, n, key // W] + rel_w[m, n, key % W]
                logits.append(logit)
            out[m, n] = torch.stack(logits).softmax(0) @ v[m]
    return out


@pytest.mark.parametrize(
    'room, queries, keys', [(2**20, 6, 6), (2 * 36, 6, 6), (4 * 6, 6, 6), (1, 6, 6), (4 * 8, 6, 8)]
)
def test_any_chunks_are_the_formula(monkeypatch, room, queries, keys):
    """All at once; several heads, which do not divide them; some queries of a head, likewise; one;
    keys without position."""
    monkeypatch.setattr(chunked, 'CHUNK', room)
    tensors = inputs(5, queries, keys, (2, 3))
    results = [form(*tensors, 0.7) for form in (chunked.chunked, by_hand)]
    gradients = [torch.autograd.grad((y**3).sum(), tensors) for y in results]
    for got, expected in zip([results[0], *gradients[0]], [results[1], *gradients[1]], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_chunks_are_bounded(monkeypatch):
    monkeypatch.setattr(chunked, 'CHUNK', 100)
    q, k, _, rel_h, rel_w = (x.detach() for x in inputs(4, 9, 25, (5, 5)))
    drawn = chunked.chunks(q, k, rel_h, rel_w, 1.0, rooms=1)
    sizes = [(P.numel(), room.shape == P.shape) for _, _, P, room in drawn]
    assert max(sizes) == (100, True) and sum(size for size, _ in sizes) == 4 * 9 * 25


def test_is_a_proper_operator():
    """Schema, shapes without values, autograd and tracing, as PyTorch checks operators."""
    tensors = inputs(2, 4, 5, (2, 2))
    torch.library.opcheck(chunked.chunked, (*tensors, 0.5))
    gradient, *values = (x.detach() for x in (tensors[0], *tensors))
    torch.library.opcheck(chunked.chunked_backward, (gradient, *values, 0.5))
