"""The encoder of MAE (He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022), to
be compared with SAM's, which starts from its weights."""

import re
from collections.abc import Sequence

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from ...layers.block import Block
from ...layers.patches import PatchEmbed
from ...peft import Anatomy
from .checkpoints import resize_pos_embed
from .keys import unwrapped
from .sam_vit import BLOCK

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""By the width of the encoder."""
OTHER = re.compile(r'(decoder|mask_token|head\.)')
"""Beginnings of what a file of MAE may hold beside the encoder."""


class ClassTokenBlock(Block):
    """A block through which a class token goes too."""

    def forward(self, x: Tensor, token: Tensor) -> tuple[Tensor, Tensor]:
        """The map (B, H, W, C) and the token (B, 1, C) after the block."""
        return self.forward_both(x, token)


class MAEViT(nn.Module):
    """A vision transformer without windows and relative positions, with a class token.

    The class token's own position is part of ``cls_token``.

    Args:
        embed_dim, depth, num_heads, patch_size: Its sizes.
        img_size: The (H, W) that the position table is kept for; other images resize it.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        patch_size: int = 16,
        img_size: Sequence[int] = (224, 224),
    ) -> None:
        super().__init__()
        self.num_heads, self.img_size = num_heads, tuple(img_size)
        grid = tuple(side // patch_size for side in self.img_size)
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, *grid, embed_dim))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.blocks = nn.ModuleList(
            ClassTokenBlock(embed_dim, num_heads, 4, 0, grid, 'fused', False) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)

    @property
    def anatomy(self) -> Anatomy:
        return Anatomy(
            self.blocks,
            BLOCK,
            before=('patch_embed.', 'pos_embed', 'cls_token'),
            can={'maps'},
            patches=self.patch_embed.proj,
            heads=self.num_heads,
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W), with sides that are multiples of the patch size, to the map (B, H /
        patch, W / patch, C) and the class token (B, C), both normalised."""
        x = self.patch_embed(images)
        x = x + resize_pos_embed(self.pos_embed, x.shape[1:3])
        token = self.cls_token.expand(x.shape[0], -1, -1)
        for block in self.blocks:
            x, token = block(x, token)
        return self.norm(x), self.norm(token)[:, 0]


def is_mae(state: dict) -> bool:
    """Whether a state dict has the names of MAE's encoder."""
    return 'cls_token' in state and 'blocks.0.mlp.fc1.weight' in state


def read_mae(path: str) -> MAEViT:
    """The encoder in a file of MAE's layout, at the size of its position table.

    Raises:
        ValueError: It is none, is of an unknown width, or lacks a part.
    """
    content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    state = unwrapped(content) if isinstance(content, dict) else {}
    if not is_mae(state):
        raise ValueError(
            f"{path} is not of MAE's layout: expected cls_token, pos_embed and "
            f'blocks.0.mlp.fc1.weight, got {", ".join(map(str, list(state)[:3])) or "no names"}.'
        )
    width, patch = state['cls_token'].shape[-1], state['patch_embed.proj.weight'].shape[-1]
    if width not in HEADS:
        raise ValueError(
            f'{path} holds an encoder of width {width}, whose number of heads is unknown: expected '
            f'{", ".join(map(str, HEADS))}.'
        )
    depth = 1 + max(int(name.split('.')[1]) for name in state if name.startswith('blocks.'))
    position = state['pos_embed']
    side = round((position.shape[1] - 1) ** 0.5)
    if side**2 != position.shape[1] - 1:
        raise ValueError(
            f'{path}: pos_embed has {position.shape[1]} rows, expected one for the class token and '
            'a square number of patches.'
        )
    model = MAEViT(width, depth, HEADS[width], patch, (side * patch, side * patch))
    renamed = {
        re.sub(r'mlp\.fc([12])', r'mlp.lin\1', name): value
        for name, value in state.items()
        if not OTHER.match(name)
    }
    renamed['cls_token'] = state['cls_token'] + position[:, :1]
    renamed['pos_embed'] = position[:, 1:].reshape(1, side, side, width)
    missing, extra = model.load_state_dict(renamed, strict=False)
    missing = [name for name in missing if 'rel_pos' not in name]
    if missing or extra:
        raise ValueError(
            f'{path}: {", ".join(missing[:3]) or "nothing"} is missing, and '
            f"{', '.join(extra[:3]) or 'nothing'} is not of MAE's encoder. Give the file that was "
            'published for fine-tuning, such as mae_pretrain_vit_base.pth.'
        )
    return model.eval()
