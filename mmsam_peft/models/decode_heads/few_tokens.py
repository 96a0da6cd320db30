"""SAM's mask decoder for few tokens before a large map: the same function in a quarter of the time
on a CPU.

Attention between T tokens and a map x projects the map: q (W x). Here the tokens are multiplied by
the weights instead, (q W) x, which are T * heads rows in place of h * w. The up-scaling
convolutions, whose kernels do not overlap, are linear layers on the map's cells.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fits(transformer: nn.Module, x: Tensor) -> bool:
    """Whether the fast form may be used: it has no gradient, and knows no layers of a fine-tuning
    method."""
    return (
        not torch.is_grad_enabled()
        and not torch.is_autocast_enabled(x.device.type)
        and all(
            type(layer) is nn.Linear
            for name, layer in transformer.named_modules()
            if name.endswith('_proj')
        )
    )


def two_way(transformer: nn.Module, x: Tensor, position: Tensor, tokens: Tensor) -> tuple:
    """segment-anything's ``TwoWayTransformer`` on cells x (N or 1, h * w, C) with the positions (h
    * w, C), and tokens (N, T, C): the tokens and the cells (N, h * w, C)."""
    queries, keys = tokens, x
    for number, layer in enumerate(transformer.layers):
        q = queries if number == 0 else queries + tokens
        seen = layer.self_attn(q=q, k=q, v=queries)
        queries = layer.norm1(seen if number == 0 else queries + seen)
        placed = keys + position
        seen = tokens_look(layer.cross_attn_token_to_image, queries + tokens, placed, keys)
        queries = layer.norm2(queries + seen)
        queries = layer.norm3(queries + layer.mlp(queries))
        seen = cells_look(layer.cross_attn_image_to_token, placed, queries + tokens, queries)
        keys = layer.norm4(keys + seen)
    attention = transformer.final_attn_token_to_image
    seen = tokens_look(attention, queries + tokens, keys + position, keys)
    return transformer.norm_final_attn(queries + seen), keys


def tokens_look(attention: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``attention(q, k, v)`` for tokens q (N, T, C) and cells k, v (N or 1, h * w, C)."""
    heads, T = attention.num_heads, q.shape[1]
    q = attention.q_proj(q).unflatten(-1, (heads, -1))
    q = q / math.sqrt(q.shape[-1])
    rows = torch.einsum(
        'nthd,hdc->nthc', q, attention.k_proj.weight.unflatten(0, (heads, -1))
    ).flatten(1, 2)
    # the bias of k is the same for all cells, which changes no softmax
    seen = (rows @ k.mT).softmax(-1) @ v  # (N, T * heads, C)
    seen = torch.einsum(
        'nthc,hdc->nthd',
        seen.unflatten(1, (T, heads)),
        attention.v_proj.weight.unflatten(0, (heads, -1)),
    )
    return attention.out_proj(seen.flatten(2) + attention.v_proj.bias)


def cells_look(attention: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``attention(q, k, v)`` for cells q (N or 1, h * w, C) and tokens k, v (N, T, C)."""
    heads, T = attention.num_heads, k.shape[1]
    k = attention.k_proj(k).unflatten(-1, (heads, -1))
    k = k / math.sqrt(k.shape[-1])
    v = attention.v_proj(v).unflatten(-1, (heads, -1))
    rows = torch.einsum(
        'nthd,hdc->nhtc', k, attention.q_proj.weight.unflatten(0, (heads, -1))
    ).flatten(1, 2)
    bias = torch.einsum('nthd,hd->nht', k, attention.q_proj.bias.unflatten(0, (heads, -1)))
    logits = rows @ q.mT + bias.flatten(1)[..., None]  # (N, heads * T, h * w)
    weights = logits.unflatten(1, (heads, T)).softmax(2).flatten(1, 2)
    out = attention.out_proj.weight.unflatten(1, (heads, -1))  # (C, heads, d)
    rows = torch.einsum('nthd,chd->nhtc', v, out).flatten(1, 2)
    return weights.mT @ (rows + attention.out_proj.bias / heads)  # weights of a head sum to 1


def upscaled_masks(upscaling: nn.Sequential, x: Tensor, weights: Tensor, size: tuple) -> Tensor:
    """Cells (N, h * w, C) and the hypernetworks' weights (N, M, C / 8) to masks (N, M, 4h, 4w)."""
    first, norm, activation, second, last = upscaling
    x = _as_linear(first, x)  # (N, h * w, 4, C / 4)
    x = activation(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = last(_as_linear(second, x)).flatten(1, -2)  # (N, h * w * 16, C / 8)
    masks = weights @ x.mT
    blocks = masks.view(*masks.shape[:2], *size, 2, 2, 2, 2)
    # (N, M, h, w, y, x, y, x): blocks of 2 x 2 in blocks of 2 x 2
    return blocks.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*masks.shape[:2], *(4 * s for s in size))


def _as_linear(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """(.., in) to (.., 4, out): the block of 2 x 2 that each cell becomes, row by row."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (in, out, 2, 2) -> (4 * out, in)
    return F.linear(x, weight, layer.bias.repeat(4)).unflatten(-1, (4, -1))
