"""Multi-head attention with decomposed relative positions: a fused form and its eager twin.

For a query at (i, j) and a key at (i', j') of an H x W map the logit is

    scale * q.k  +  q.R_h[i - i']  +  q.R_w[j - j']

(Li et al., "MViTv2", 2022, eq. 4, as used by SAM's image encoder). Extra tokens, which follow those
of the map, have no position: where the query or the key is one of them, the logit is scale * q.k
alone. The attention functions take

    q, k, v: (B, heads, H * W [+ P], C)
    rel_h: (B, heads, N, H)    rel_w: (B, heads, N, W)

with N = H * W queries of the map, or those of its first rows and columns alone, and return what
every query gets, in the shape of q.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .chunked import CHUNK, chunked
from .constants import is_exporting
from .windows import cell_by_cell, is_hooked, map_of, padded_to, project, regions, windows_of


def resize_rel_pos(rel_pos: Tensor, distances: int) -> Tensor:
    """Relative positions learnt for other distances: (l, C) to (distances, C), linear."""
    if len(rel_pos) == distances:
        return rel_pos
    return F.interpolate(rel_pos.T[None].float(), size=distances, mode='linear')[0].T.to(
        rel_pos.dtype
    )


def rel_pos_rows(rel_pos: Tensor, size: int) -> Tensor:
    """R[i - i'] for all query rows i and key rows i', as (size, C, size): a copy of overlapping
    slices, without an index.

    Args:
        rel_pos: (L, C), learnt for L = 2 * n - 1 distances; linearly resized when n is not
            ``size``.
    """
    return resize_rel_pos(rel_pos, 2 * size - 1).unfold(0, size, 1).flip(-1)


def decomposed_bias(
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    size: tuple[int, int],
    seen: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """The two position terms of every query: one value per key row, (B, heads, h * w, H), and per
    key column, (.., W).

    Args:
        size: (h, w) of the map of the queries, the first rows and columns of that of the keys.
        seen: (H, W) of the map of the keys; ``size`` by default.
    """
    (h, w), (H, W) = size, seen or size
    q = q.unflatten(2, size)  # (B, heads, h, w, C)
    rel_h = torch.einsum('bnhwc,hck->bnhwk', q, rel_pos_rows(rel_pos_h, H)[:h].to(q.dtype))
    rel_w = torch.einsum('bnhwc,wck->bnhwk', q, rel_pos_rows(rel_pos_w, W)[:w].to(q.dtype))
    return rel_h.flatten(2, 3), rel_w.flatten(2, 3)


def _extend(x: Tensor, rows: int, columns: int) -> Tensor:
    """Zeros after the last row and column, up to (.., rows, columns); x itself where none are
    missing."""
    missing = (0, columns - x.shape[-1], 0, rows - x.shape[-2])
    return F.pad(x, missing) if any(missing) else x


def _full_bias(rel_h: Tensor, rel_w: Tensor, queries: int, keys: int) -> Tensor:
    bias = (rel_h[..., :, None] + rel_w[..., None, :]).flatten(-2)  # (B, heads, H * W, H * W)
    return _extend(bias, queries, keys)


def eager_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    """The formula as written, with the attention matrix in memory."""
    return (
        (q * scale) @ k.transpose(-2, -1) + _full_bias(rel_h, rel_w, q.shape[2], k.shape[2])
    ).softmax(-1) @ v


def concat_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    """The position terms as extra channels, so that no attention matrix or bias is ever stored:

        q' = [scale * q, rel_h, rel_w],  k' = [k, onehot(row), onehot(col)],  softmax(q' k'^T) v

    The extra channels of extra tokens are zero. Flash kernels want heads of equal size, a multiple
    of 8: v is padded to it.
    """
    H, W = rel_h.shape[-1], rel_w.shape[-1]
    rows = torch.eye(H, dtype=k.dtype, device=k.device).repeat_interleave(W, 0)
    cols = torch.eye(W, dtype=k.dtype, device=k.device).repeat(H, 1)
    position = _extend(torch.cat([rows, cols], -1), k.shape[2], H + W).expand(*k.shape[:2], -1, -1)
    q = torch.cat([q * scale, _extend(rel_h, q.shape[2], H), _extend(rel_w, q.shape[2], W)], -1)
    k = torch.cat([k, position], -1)
    width = q.shape[-1] + -q.shape[-1] % 8
    padded = (_extend(x, x.shape[2], width) for x in (q, k, v))
    return F.scaled_dot_product_attention(*padded, scale=1.0)[..., : v.shape[-1]]


def bias_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    """Fused attention with the position terms as an additive mask: for maps small enough that the
    mask is cheap."""
    bias = _full_bias(rel_h, rel_w, q.shape[2], k.shape[2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def chunked_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    """The formula in chunks of the attention matrix that stay in the cache; see ``chunked.py``."""
    H, W = rel_h.shape[-1], rel_w.shape[-1]
    rel_h, rel_w = _extend(rel_h, q.shape[2], H), _extend(rel_w, q.shape[2], W)
    return chunked(*(x.flatten(0, 1) for x in (q, k, v, rel_h, rel_w)), scale).view(q.shape)


def form_on_cpu(q: Tensor, k: Tensor) -> Callable[..., Tensor]:
    """The fastest as measured by benchmarks/attention.py. A matrix of one chunk is kept: it is
    smaller than what else a block keeps, and need not be computed again."""
    if q.shape[:3].numel() * k.shape[2] > CHUNK or q.dtype.itemsize < 4:
        return chunked_attention
    return eager_attention if q.requires_grad else bias_attention


def form_elsewhere(q: Tensor, k: Tensor) -> Callable[..., Tensor]:
    """One that flash and memory-efficient kernels take, with its gradients."""
    return bias_attention if q.shape[2] <= 256 else concat_attention


FORMS = {'cpu': form_on_cpu, 'other': form_elsewhere}
"""By device, what chooses the fused form for queries and keys."""


def fused_form(q: Tensor, k: Tensor) -> Callable[..., Tensor]:
    """The form to compute with; to be exported, one of PyTorch's own operators, which run where
    this package is not."""
    device = 'other' if is_exporting() or q.device.type not in FORMS else q.device.type
    return FORMS[device](q, k)


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, rel_h: Tensor, rel_w: Tensor, scale: float
) -> Tensor:
    return fused_form(q, k)(q, k, v, rel_h, rel_w, scale)


ATTENTION = {'fused': fused_attention, 'eager': eager_attention}


def append(tokens: Tensor, extra: Tensor) -> Tensor:
    """(B, heads, N, C) and, after them, (E, heads, P, C), each of the E for B / E neighbours in
    B."""
    copies = tokens.shape[0] // extra.shape[0]  # len() would be a constant of an exported graph
    return torch.cat([tokens, extra[:, None].expand(-1, copies, -1, -1, -1).flatten(0, 1)], 2)


class MapAttention(nn.Module):
    """Self-attention over a map (B, H, W, C), without positions, with the parameter names of SAM.

    Args:
        dim: Channels C.
        num_heads: Heads; the channels of the output are divided among them.
        attention: 'fused' or its twin 'eager'.
        out: Channels of queries, keys, values and output; C by default.
        pool: The queries, and so the output, are those of a map whose sides are so many times
            smaller: the largest values of pool x pool cells.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        attention: str = 'fused',
        out: int | None = None,
        pool: int = 1,
    ) -> None:
        super().__init__()
        out = out or dim
        self.num_heads, self.attention, self.pool = num_heads, attention, pool
        self.scale = (out // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * out)
        self.proj = nn.Linear(out, out)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Attention of the map over itself and the keys and values of ``extra`` tokens.

        Args:
            x: (B, H, W, C)
            extra: (E, P, C) without position, each of the E for B / E maps in a row: those of an
                image, for its windows.

        Returns:
            (B, H / pool, W / pool, out)
        """
        q, k, v = self.cells(self.qkv(x))
        if extra is not None:
            _, extra_k, extra_v = self.tokens(extra)
            k, v = append(k, extra_k), append(v, extra_v)
        size = x.shape[1:3]
        return self.proj(self.attend(q, k, v, size, size).unflatten(1, self.pooled_size(size)))

    def attend_both(self, x: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, and the ``extra`` tokens attend too, in every map: also returns what they
        get there, (B, P, out)."""
        size, extras = x.shape[1:3], self.tokens(extra)
        q, k, v = (append(*pair) for pair in zip(self.cells(self.qkv(x)), extras, strict=True))
        y, answers = self.attend(q, k, v, size, size).tensor_split((-extra.shape[1],), 1)
        return self.proj(y.unflatten(1, self.pooled_size(size))), self.proj(answers)

    def in_windows(
        self,
        x: Tensor,
        window: int,
        extra: Tensor | None = None,
        pad: Tensor | None = None,
    ) -> Tensor:
        """As ``forward``, in each window of the map by itself, (B, H / pool, W / pool, out).

        Args:
            pad: What pads the windows, (1, 1, 1, C); zeros by default. Padded cells are seen, but
                what they would get is not computed, unless ``proj`` looks at it.
        """
        if is_hooked(self):  # who looks at the attention is shown whole windows
            windows = windows_of(padded_to(x, window, pad), window)
            y = self(windows.flatten(0, 2), extra)  # of more maps, where a method branches inside
            y = map_of(y.unflatten(0, (-1, *windows.shape[1:3])))
            H, W = self.pooled_size(x.shape[1:3])
            return y[:, :H, :W]
        extras = None if extra is None else self.tokens(extra)
        return self.projected(self.attended(x, window, pad, extras)[0], x.shape[1:3], window)

    def both_in_windows(
        self, x: Tensor, window: int, extra: Tensor, pad: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As ``in_windows``, and what the ``extra`` tokens get, the mean over the windows of a map,
        (B, P, out)."""
        y, answers = self.attended(x, window, pad, self.tokens(extra), both=True)
        answers = self.proj(answers.flatten(0, 1)).unflatten(0, answers.shape[:2]).mean(1)
        return self.projected(y, x.shape[1:3], window), answers

    def attended(
        self,
        x: Tensor,
        window: int,
        pad: Tensor | None,
        extras: Sequence[Tensor] | None,
        both: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """What the cells of the map, padded where ``proj`` needs it, get in their windows, before
        ``proj``: (B, H / pool, W / pool, out). With ``both`` also what the extra tokens get in each
        window, (B, windows, P, out)."""
        y, pad = project(self.qkv, x, window, pad)
        whole, answers, lines = not cell_by_cell(self.proj), [], []
        for parts in regions(y, x.shape[1:3], window):
            line = []
            for part, size in parts:
                windows = windows_of(padded_to(part, window, pad), window)
                q, k, v = self.cells(windows)
                size = (window, window) if whole else size
                if size != (window, window):
                    q = q.unflatten(2, (window, window))[:, :, : size[0], : size[1]].flatten(2, 3)
                if extras is not None:
                    q = append(q, extras[0]) if both else q
                    k, v = append(k, extras[1]), append(v, extras[2])
                got = self.attend(q, k, v, size, (window, window))
                got = got.unflatten(0, windows.shape[:3])  # (B, rows, columns, queries, out)
                if both:
                    got, answer = got.tensor_split((-extras[0].shape[2],), 3)
                    answers.append(answer.flatten(1, 2))
                line.append(map_of(got.unflatten(3, self.pooled_size(size))))
            lines.append(torch.cat(line, 2) if line[1:] else line[0])
        y = torch.cat(lines, 1) if lines[1:] else lines[0]
        return y, torch.cat(answers, 1) if both else None

    def projected(self, y: Tensor, size: tuple[int, int], window: int) -> Tensor:
        """The output of what the windows of a map of ``size`` got."""
        if cell_by_cell(self.proj):
            return self.proj(y)
        H, W = self.pooled_size(size)
        return project(self.proj, y, window // self.pool)[0][:, :H, :W]

    def tokens(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of N tokens (B, N, C), each (B, heads, N, out / heads)."""
        return self.heads(self.qkv(x)[:, None])

    def cells(self, y: Tensor) -> tuple[Tensor, ...]:
        """Those of maps, of what ``qkv`` made of them, (.., H, W, 3 * out), with what depends on
        the place of a cell; each (B, heads, H * W, out / heads)."""
        return self.heads(y)

    def heads(self, y: Tensor) -> tuple[Tensor, ...]:
        """From (.., H, W, 3 * out) to q, k and v, each (B, heads, H * W, out / heads)."""
        return self.apart(y.unflatten(-1, (3, self.num_heads, -1)).unbind(-3))

    def apart(self, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Each (.., H, W, heads, n) to (B, heads, H * W, n)."""
        H, W, heads, width = parts[0].shape[-4:]
        return tuple(x.movedim(-2, -4).reshape(-1, heads, H * W, width) for x in parts)

    def pooled_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[0] // self.pool, size[1] // self.pool

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        size: tuple[int, int],
        seen: tuple[int, int],
    ) -> Tensor:
        """What every query gets, before ``proj``, (B, queries, out). The first queries are those
        of a map of ``size``, the first keys those of a map of the size ``seen``, of which the
        former is the upper left part."""
        if self.pool > 1:
            tokens = size[0] * size[1]
            own, extra = self.pooled(q[:, :, :tokens], size), q[:, :, tokens:]
            q = torch.cat([own, extra], 2) if extra.shape[2] else own
        if self.attention == 'fused':
            x = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        else:
            x = (q * self.scale @ k.mT).softmax(-1) @ v
        return x.transpose(1, 2).flatten(2)

    def pooled(self, q: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, heads, H * W, n) to (B, heads, H * W / pool^2, n)."""
        x = q.transpose(1, 2).unflatten(1, size).flatten(3)  # (B, H, W, out)
        return (
            max_pooled(x, self.pool)
            .flatten(1, 2)
            .unflatten(2, (self.num_heads, -1))
            .transpose(1, 2)
        )


def max_pooled(x: Tensor, pool: int) -> Tensor:
    """(B, H, W, C) to (B, H / pool, W / pool, C): the largest values of pool x pool cells."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), pool).permute(0, 2, 3, 1)


class Attention(MapAttention):
    """With SAM's decomposed relative positions.

    Args:
        input_size: The (H, W) whose distances the relative positions are learnt for.
    """

    def __init__(
        self, dim: int, num_heads: int, input_size: tuple[int, int], attention: str = 'fused'
    ) -> None:
        super().__init__(dim, num_heads, attention)
        self.input_size = input_size
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * input_size[0] - 1, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * input_size[1] - 1, dim // num_heads))

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        size: tuple[int, int],
        seen: tuple[int, int],
    ) -> Tensor:
        rel_h, rel_w = decomposed_bias(
            q[:, :, : size[0] * size[1]], self.rel_pos_h, self.rel_pos_w, size, seen
        )
        x = ATTENTION[self.attention](q, k, v, rel_h, rel_w, self.scale)
        return x.transpose(1, 2).flatten(2)
