"""SAM's encoder of ``timm`` with LoRA of ``peft``, as a candidate to benchmark beside ours."""

from torch import Tensor, nn

from ..peft import PEFTMethod
from .hugging_face import with_lora


class TimmSAM(nn.Module):
    """``timm``'s encoder with LoRA in its qkv; the neck is trained, and all other weights are
    frozen.

    Args:
        sizes: SAM's arch, as ours has it.
        size: Side of the images.
        rank, alpha: LoRA's.

    Raises:
        ImportError: ``timm`` is not installed, or not torchvision, which it needs.
    """

    def __init__(self, sizes: dict, size: int, rank: int, alpha: float) -> None:
        try:
            from timm.models.vision_transformer_sam import VisionTransformerSAM
        except ImportError as error:
            raise ImportError(
                f'timm:LoRA needs timm and torchvision ({error}): pip install timm torchvision.'
            ) from error
        super().__init__()
        same = ('patch_size', 'embed_dim', 'depth', 'num_heads', 'mlp_ratio', 'window_size')
        encoder = VisionTransformerSAM(
            size,
            num_classes=0,
            use_rel_pos=True,
            global_attn_indexes=tuple(sizes['global_attn_indexes']),
            neck_chans=sizes['out_channels'],
            **{name: sizes[name] for name in same},
        )
        self.model, self.peft = with_lora(encoder, ['qkv'], rank, alpha), PEFTMethod()

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.model.base_model.model.forward_features(images),)
