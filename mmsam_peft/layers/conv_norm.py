"""Convolution and batch normalisation as one layer, for frozen and fine-tuned networks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StoredNorm(nn.Module):
    """Batch normalisation of (B, C, H, W) by stored statistics, in training too:

        y = weight * (x - mean) / sqrt(var + eps) + bias

    Weight and bias may be trained. Mean and variance are what the pretraining left and never
    change: fine-tuning has few images in a batch, a frozen network must not drift, and what a
    batch looks like may not depend on its other images. They are part of the base weights.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, self.bias, False, 0.0, self.eps)

    def line(self) -> tuple[Tensor, Tensor]:
        """The same as y = scale * x + shift, each (C,)."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


class ConvNorm(nn.Module):
    """A convolution without bias, ``c``, and the norm behind it, ``bn``: (B, in, H, W) to (B, out,
    H / stride, W / stride).

    They run as one convolution, which keeps one map less for the backward pass; as two where a
    method has put something in the place of one of them.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = StoredNorm(outputs)

    @property
    def weight(self) -> Tensor:
        """The norm's, (out,), which scales what the layer gives."""
        return self.bn.weight

    @property
    def bias(self) -> Tensor:
        return self.bn.bias

    def forward(self, x: Tensor) -> Tensor:
        if type(self.c) is not nn.Conv2d or type(self.bn) is not StoredNorm:
            return self.bn(self.c(x))
        scale, shift = self.bn.line()
        weight = self.c.weight * scale[:, None, None, None]
        return F.conv2d(x, weight, shift, self.c.stride, self.c.padding, groups=self.c.groups)
