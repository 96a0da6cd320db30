"""The heads of TransLab (Xie et al., "Segmenting Transparent Objects in the Wild", ECCV 2020, arXiv
2003.13948)."""

import torch
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.sep_aspp_head import DepthwiseSeparableASPPModule
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ...registry import MODELS
from .boundaries import boundary_target


def to_size(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, corners aligned, to the height and width of ``like``."""
    return resize(x, size=like.shape[2:], mode='bilinear', align_corners=True)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling, (B, in, H, W) to (B, out, H, W): a 1 x 1 convolution, three
    separable ones of dilations 6, 12, 18, and the image's mean."""

    def __init__(self, in_channels: int, channels: int, norm_cfg: dict | None) -> None:
        super().__init__()
        self.branches = DepthwiseSeparableASPPModule(
            dilations=(1, 6, 12, 18),
            in_channels=in_channels,
            channels=channels,
            conv_cfg=None,
            norm_cfg=norm_cfg,
            act_cfg=dict(type='ReLU'),
        )
        self.pooled = ConvModule(in_channels, channels, 1, norm_cfg=norm_cfg)
        self.joined = ConvModule(5 * channels, channels, 1, norm_cfg=norm_cfg)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.pooled(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.dropout(self.joined(torch.cat([mean, *self.branches(x)], 1)))


class BoundaryFusion(nn.Module):
    """Stresses the boundaries of a map x (B, C, H, W), given their probabilities a (B, 1, h, w)::

    y = separable convolution of [x, a x],   y * sigmoid(W2 relu(W1 mean(y)))
    """

    def __init__(self, channels: int, norm_cfg: dict | None) -> None:
        super().__init__()
        self.conv = separable(2 * channels, channels, norm_cfg)
        self.squeeze = nn.Linear(channels, channels // 16)
        self.excite = nn.Linear(channels // 16, channels)

    def forward(self, x: Tensor, boundary: Tensor) -> Tensor:
        y = self.conv(torch.cat([x, x * to_size(boundary, x)], 1))
        weights = self.excite(self.squeeze(y.mean((2, 3))).relu()).sigmoid()
        return y * weights[..., None, None]


class BoundaryStream(nn.Module):
    """Logits of boundaries, (B, 1, h1, w1), from the maps c1 and c4."""

    def __init__(self, c1: int, c4: int, channels: int, norm_cfg: dict | None) -> None:
        super().__init__()
        self.aspp = ASPP(c4, channels, norm_cfg)
        self.narrow = ConvModule(c1, 48, 1, norm_cfg=norm_cfg)
        self.convs = nn.Sequential(
            separable(channels + 48, channels, norm_cfg), separable(channels, channels, norm_cfg)
        )
        self.logits = nn.Conv2d(channels, 1, 1)

    def forward(self, c1: Tensor, c4: Tensor) -> Tensor:
        x = torch.cat([to_size(self.aspp(c4), c1), self.narrow(c1)], 1)
        return self.logits(self.convs(x))


def separable(in_channels: int, channels: int, norm_cfg: dict | None) -> nn.Module:
    return DepthwiseSeparableConvModule(in_channels, channels, 3, padding=1, norm_cfg=norm_cfg)


@MODELS.register_module()
class TransLabHead(BaseDecodeHead):
    """A boundary stream, whose probabilities gate the maps c1, c2 and c4 of a ResNet and those of
    the main stream.

    The squeeze of a fusion is a mean over the whole map, so that images of any shape will do.

    Args:
        loss_boundary: The loss of the boundaries, of one channel.
        train_boundary: False keeps the boundary stream and the fusions of c1, c2, c4 (12,862,753
            parameters beside a ResNet-50) as they start, as in the published program, whose
            optimizer never gets them.
        kwargs: Of MMSegmentation's decode heads. ``in_channels`` and ``in_index`` are those of c1,
            c2 and c4.
    """

    def __init__(
        self,
        in_channels: tuple[int, int, int] = (256, 512, 2048),
        in_index: tuple[int, int, int] = (0, 1, 3),
        channels: int = 256,
        loss_boundary: dict | None = None,
        train_boundary: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(
            in_channels,
            channels,
            in_index=in_index,
            input_transform='multiple_select',
            dropout_ratio=0,  # the ASPP has its own
            align_corners=True,
            **kwargs,
        )
        norm, (c1, c2, c4) = self.norm_cfg, in_channels
        self.loss_boundary = MODELS.build(
            loss_boundary or dict(type='SquaredDiceLoss', loss_weight=5.0)
        )
        self.boundary = BoundaryStream(c1, c4, channels, norm)
        self.gates = nn.ModuleList(BoundaryFusion(width, norm) for width in in_channels)
        self.aspp = ASPP(c4, channels, norm)
        self.narrow_c2 = ConvModule(c2, 24, 1, norm_cfg=norm)
        self.narrow_c1 = ConvModule(c1, 48, 1, norm_cfg=norm)
        width = channels + 24
        self.fusion_c2 = BoundaryFusion(width, norm)
        self.convs_c2 = nn.Sequential(separable(width, width, norm), separable(width, width, norm))
        width += 48
        self.fusion_c1 = BoundaryFusion(width, norm)
        self.convs_c1 = nn.Sequential(
            separable(width, channels, norm), separable(channels, channels, norm)
        )
        if not train_boundary:
            self.boundary.requires_grad_(False)
            self.gates.requires_grad_(False)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Logits of the classes, (B, K, h1, w1)."""
        return self.streams(inputs)[0]

    def streams(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The logits of the classes, (B, K, h1, w1), and of the boundaries, (B, 1, h1, w1)."""
        maps = self._transform_inputs(inputs)
        boundary = self.boundary(maps[0], maps[2])
        a = boundary.sigmoid()
        c1, c2, c4 = (gate(one, a) for gate, one in zip(self.gates, maps, strict=True))
        x = torch.cat([to_size(self.aspp(c4), c2), self.narrow_c2(c2)], 1)
        x = self.convs_c2(self.fusion_c2(x, a))
        x = torch.cat([to_size(x, c1), self.narrow_c1(c1)], 1)
        x = self.convs_c1(self.fusion_c1(x, a))
        return self.cls_seg(x), boundary

    def loss(
        self, inputs: tuple[Tensor, ...], batch_data_samples: list[SegDataSample], train_cfg: dict
    ) -> dict[str, Tensor]:
        """``loss_decode``'s losses, and ``loss_boundary``; the boundaries are those of the
        masks."""
        classes, boundary = self.streams(inputs)
        losses = self.loss_by_feat(classes, batch_data_samples)
        labels = self._stack_batch_gt(batch_data_samples).squeeze(1)
        losses['loss_boundary'] = self.loss_boundary(
            to_size(boundary, labels[:, None]),
            boundary_target(labels, ignore_index=self.ignore_index),
            ignore_index=self.ignore_index,
        )
        return losses
