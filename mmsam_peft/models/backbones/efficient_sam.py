"""EfficientSAM's image encoder (Xiong et al., "EfficientSAM: Leveraged Masked Image Pretraining for
Efficient Segment Anything", CVPR 2024), as a backbone."""

from ...layers.attention import MapAttention
from ...layers.block import Block
from ...registry import MODELS
from .sam_vit import SAMViT

ARCHS = {
    'tiny': dict(embed_dim=192, depth=12, num_heads=3),
    'small': dict(embed_dim=384, depth=12, num_heads=6),
}
COMMON = dict(patch_size=16, learnt_size=14, mlp_ratio=4, out_channels=256)


class PlainBlock(Block):
    """A block whose attention knows no positions."""

    def make_attention(
        self, dim: int, num_heads: int, size: tuple[int, int], attention: str
    ) -> MapAttention:
        return MapAttention(dim, num_heads, attention)


@MODELS.register_module()
class EfficientSAMViT(SAMViT):
    """EfficientSAM's image encoder, fine-tuned by any method of the ``PEFT`` registry: a plain
    vision transformer with a position embedding, learnt for 14 x 14 cells and resized to any map,
    and SAM's neck. All of its blocks are global.

    Args:
        arch: 'tiny', 'small', or a dict with embed_dim, depth, num_heads and, where they differ
            from EfficientSAM's, patch_size, learnt_size (rows and columns of cells that the
            positions are learnt for), mlp_ratio, out_channels.
        img_size, peft, unfreeze, out_indices, attention, checkpointing, compile, checkpoint,
            in_channels: As for :class:`SAMViT`.
    """

    archs, common = ARCHS, COMMON
    block = PlainBlock

    def __init__(self, arch: str | dict = 'small', img_size=1024, **kwargs) -> None:
        super().__init__(arch, img_size, **kwargs)

    def learnt_grid(self) -> tuple[int, int]:
        return (self.arch['learnt_size'],) * 2

    def window_of(self, block: int) -> int:
        return 0
