"""Operations of the attention operators that PyTorch's counter does not know, by the products they
do."""

from collections.abc import Callable, Sequence

import torch


def _products(number: int) -> Callable[..., int]:
    """Operations of ``number`` products of the size of q k^T, for q (..., N, C) and k (..., K,
    C)."""

    def count(q: Sequence[int], k: Sequence[int], *_, **__) -> int:
        return 2 * number * torch.Size(q).numel() * k[-2]

    return count


def _backward(number: int) -> Callable[..., int]:
    return lambda g, q, k, *_, **__: _products(number)(q, k)


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _products(2),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward(5),
    torch.ops.mmsam_peft.chunked_attention: _products(2),
    torch.ops.mmsam_peft.chunked_attention_backward: _backward(6),
}
"""For ``FlopCounterMode(custom_mapping=ATTENTION)``; a product of two matrices is counted as 2 m n
k."""
