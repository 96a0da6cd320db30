"""Attention with decomposed relative positions for CPUs: in chunks that stay in the cache, done
again in the backward pass.

With S = scale * q k^T + rel_h[row of the key] + rel_w[column of the key], P = softmax(S), O = P v,
and g the gradient of O,

    dv = P^T g,   dP = g v^T,   dS = P * (dP - sum(dP * P)),
    dq = scale * dS k,   dk = scale * dS^T q,
    drel_h = sum of dS over the key's column,   drel_w = sum of dS over the key's row

(Dao et al., "FlashAttention", 2022, appendix B, with the position terms added). A few chunks are
all that is held, and q, k, v, rel_h and rel_w all that is kept for the backward pass. PyTorch's
flash kernel for CPUs knows no gradient of a bias, and the extra channels of the concatenated form
triple its products.

The operators take q: (M, N, C), k, v: (M, K, C), rel_h: (M, N, H), rel_w: (M, N, W), for M heads of
all maps. The first H * W keys are those of the map; the others have no position. To torch.compile,
which would write the loops out, they are opaque.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK = 2**20
"""Logits of a chunk: few enough to stay in the cache, enough for large products."""


def chunks(
    q: Tensor, k: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float, rooms: int = 0
) -> Iterator[tuple[slice, slice, Tensor, ...]]:
    """Heads and queries of a chunk, its probabilities P (heads, queries, K), and ``rooms`` more
    tensors of this shape with anything in them. The next chunk overwrites them all."""
    (M, N, _), K, grid = q.shape, k.shape[1], (rel_h.shape[2], rel_w.shape[2])
    tokens = grid[0] * grid[1]
    heads, queries = max(1, CHUNK // (N * K)), min(N, max(1, CHUNK // K))
    buffers = q.new_empty(1 + rooms, min(M, heads), queries, K)
    for m in range(0, M, heads):
        for n in range(0, N, queries):
            chunk = slice(m, min(M, m + heads)), slice(n, min(N, n + queries))
            P, *others = buffers[:, : chunk[0].stop - m, : chunk[1].stop - n]
            torch.add(
                rel_h[chunk][..., None],
                rel_w[chunk][..., None, :],
                out=P[..., :tokens].unflatten(-1, grid),
            )
            P[..., tokens:] = 0
            torch.softmax(P.baddbmm_(q[chunk], k[chunk[0]].mT, alpha=scale), -1, out=P)
            yield *chunk, P, *others


def precise(*tensors: Tensor) -> list[Tensor]:
    """In float32 at least, as flash kernels compute."""
    return [x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


@torch.library.custom_op('mmsam_peft::chunked_attention', mutates_args=())
@torch.autocast('cpu', enabled=False)
def chunked(q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float) -> Tensor:
    """O, (M, N, C)."""
    dtype = q.dtype
    q, k, v, rel_h, rel_w = precise(q, k, v, rel_h, rel_w)
    out = torch.empty_like(q)
    for m, n, P in chunks(q, k, rel_h, rel_w, scale):
        out[m, n] = P @ v[m]
    return out.to(dtype)


@torch.library.custom_op('mmsam_peft::chunked_attention_backward', mutates_args=())
@torch.autocast('cpu', enabled=False)
def chunked_backward(
    g: Tensor, q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """dq, dk, dv, drel_h and drel_w, for the gradient g of O."""
    dtype, grid = q.dtype, (rel_h.shape[2], rel_w.shape[2])
    g, q, k, v, rel_h, rel_w = precise(g, q, k, v, rel_h, rel_w)
    dq, dk, dv, drel_h, drel_w = [torch.empty_like(x) for x in (q, k, v, rel_h, rel_w)]
    for m, n, P, dP, room in chunks(q, k, rel_h, rel_w, scale, rooms=2):
        torch.bmm(g[m, n], v[m].mT, out=dP)
        dS = dP.sub_(torch.mul(dP, P, out=room).sum(-1, keepdim=True)).mul_(P)
        so_far = int(n.start > 0)  # of the heads' queries before: none of the first
        dv[m].baddbmm_(P.mT, g[m, n], beta=so_far)
        dk[m].baddbmm_(dS.mT, q[m, n], beta=so_far, alpha=scale)
        dq[m, n] = (dS @ k[m]).mul_(scale)
        dS = dS[..., : grid[0] * grid[1]].unflatten(-1, grid)
        drel_h[m, n], drel_w[m, n] = dS.sum(-1), dS.sum(-2)
    return dq.to(dtype), dk.to(dtype), dv.to(dtype), drel_h.to(dtype), drel_w.to(dtype)


@chunked.register_fake
def _(q: Tensor, *_) -> Tensor:
    return torch.empty_like(q)


@chunked_backward.register_fake
def _(g: Tensor, *inputs) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(x) for x in inputs[:-1])


def keep(ctx, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def gradients(ctx, g: Tensor) -> tuple:
    return *chunked_backward(g, *ctx.saved_tensors, ctx.scale), None


chunked.register_autograd(gradients, setup_context=keep)
