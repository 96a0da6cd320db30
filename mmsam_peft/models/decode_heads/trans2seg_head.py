"""The transformer of Trans2Seg (Xie et al., "Segmenting Transparent Object in the Wild with
Transformer", IJCAI 2021, arXiv 2101.08461)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn

from ...registry import MODELS


class MLP(nn.Sequential):
    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))


class EncoderBlock(nn.Module):
    """A pre-norm transformer block on tokens (B, N, C), without a bias of q, k and v."""

    def __init__(self, dim: int, num_heads: int, ratio: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.mlp = MLP(dim, ratio)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        y = F.scaled_dot_product_attention(*(one.transpose(1, 2) for one in (q, k, v)))
        x = x + self.proj(y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """Queries (B, K, C), one per class, look at a map (B, N, C); where they look is refined into
    masks.

    As in the published program, a residual adds what comes out of the attention to itself, not to
    what went into it: the queries, and likewise the map and the attention logits, are doubled.
    """

    def __init__(self, dim: int, num_heads: int, ratio: int, tokens: int) -> None:
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.norm_query, self.norm_map = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.norm_query_mlp, self.query_mlp = nn.LayerNorm(dim), MLP(dim, ratio)
        self.norm_map_mlp, self.map_mlp = nn.LayerNorm(dim), MLP(dim, ratio)
        self.norm_logits_mlp, self.logits_mlp = nn.LayerNorm(tokens), MLP(tokens, ratio)

    def forward(self, query: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The attention logits (B, K, heads, N), the queries and the map after the block."""
        q = self.q(self.norm_query(query)).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(self.norm_map(x)).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        logits = self.scale * q @ k.permute(0, 2, 3, 1)  # (B, heads, K, N)
        query = 2 * self.proj((logits.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2).flatten(2))
        query = query + self.query_mlp(self.norm_query_mlp(query))
        x = 2 * x
        x = x + self.map_mlp(self.norm_map_mlp(x))
        return logits.transpose(1, 2), query, x

    def refine(self, logits: Tensor) -> Tensor:
        """Masks of attention logits, (B, K, heads, N) each."""
        logits = 2 * logits
        return logits + self.logits_mlp(self.norm_logits_mlp(logits))


@MODELS.register_module()
class Trans2SegHead(BaseDecodeHead):
    """An encoder over the last map of a ResNet, a decoder with a query per class, and a small
    convolutional head that makes a class's mask of its attention maps.

    The last decoder block's queries are not read, nor are the masks of the blocks before it. As in
    the published program their layers are there, untrained: distributed training needs
    ``find_unused_parameters``.

    Args:
        img_size: The (H, W) of the images: position table and masks have one entry per cell.
        in_channels, in_index: Of the ResNet's maps c1 and c4.
        channels: Of the convolutional head.
        embed_dims, num_heads, depth, mlp_ratio: Of encoder and decoder.
        stride: Of c4.
        kwargs: Of MMSegmentation's decode heads.
    """

    def __init__(
        self,
        img_size: Sequence[int] = (512, 512),
        in_channels: tuple[int, int] = (256, 2048),
        in_index: tuple[int, int] = (0, 3),
        channels: int = 64,
        embed_dims: int = 256,
        num_heads: int = 8,
        depth: int = 4,
        mlp_ratio: int = 3,
        stride: int = 16,
        **kwargs,
    ) -> None:
        super().__init__(
            in_channels,
            channels,
            in_index=in_index,
            input_transform='multiple_select',
            dropout_ratio=0,
            align_corners=True,
            **kwargs,
        )
        self.img_size = tuple(img_size)
        self.grid = tuple(-(-side // stride) for side in self.img_size)
        tokens = self.grid[0] * self.grid[1]
        self.embed = nn.Linear(in_channels[1], embed_dims)
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.position = nn.Parameter(torch.zeros(1, 1 + tokens, embed_dims))
        self.encoder = nn.Sequential(
            *(EncoderBlock(embed_dims, num_heads, mlp_ratio) for _ in range(depth)),
            nn.LayerNorm(embed_dims),
        )
        self.queries = nn.Parameter(torch.zeros(1, self.num_classes, embed_dims))
        self.decoder = nn.ModuleList(
            DecoderBlock(embed_dims, num_heads, mlp_ratio, tokens) for _ in range(depth)
        )
        for weights in (self.class_token, self.position, self.queries):
            nn.init.trunc_normal_(weights, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.narrow = ConvModule(in_channels[0], channels, 1, norm_cfg=self.norm_cfg)
        self.conv1, self.conv2, self.conv3 = (
            DepthwiseSeparableConvModule(width, channels, 3, padding=1, norm_cfg=self.norm_cfg)
            for width in (embed_dims + num_heads, channels, channels)
        )
        self.conv_seg = nn.Conv2d(channels, 1, 1)  # of all classes

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Logits of the classes, (B, K, h1, w1). ValueError for images of another size than
        ``img_size``."""
        c1, c4 = self._transform_inputs(inputs)
        if tuple(c4.shape[2:]) != self.grid:
            raise ValueError(
                f'{type(self).__name__} is made for images of {self.img_size[0]} x '
                f'{self.img_size[1]} (height x width), a map of {self.grid[0]} x {self.grid[1]}, '
                f'and got a map of {c4.shape[2]} x {c4.shape[3]}. Set image_size to the size of '
                "the images, or test large ones by model.test_cfg.mode='slide'."
            )
        maps, x = self.masks(c4)
        x = torch.cat([x[:, None].expand(-1, self.num_classes, -1, -1, -1), maps], 2)
        x = self.conv2(self.conv1(x.flatten(0, 1)))  # (B * K, channels, h, w)
        x = resize(x, size=c1.shape[2:], mode='bilinear', align_corners=True)
        x = x.unflatten(0, (-1, self.num_classes)) + self.narrow(c1)[:, None]
        return self.conv_seg(self.conv3(x.flatten(0, 1))).view(c1.shape[0], -1, *c1.shape[2:])

    def masks(self, c4: Tensor) -> tuple[Tensor, Tensor]:
        """The attention maps of the classes, (B, K, heads, h, w), and the map (B, C, h, w)."""
        x = self.embed(c4.flatten(2).mT)  # (B, C, h, w) -> (B, h * w, C)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1) + self.position
        x = self.encoder(x)[:, 1:]
        query = torch.zeros_like(self.queries).expand(x.shape[0], -1, -1)
        for block in self.decoder:
            logits, query, x = block(query + self.queries, x)
        masks = self.decoder[-1].refine(logits)
        return masks.unflatten(-1, self.grid), x.mT.unflatten(-1, self.grid)
