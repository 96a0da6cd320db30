"""The tensors of a file of SAM 3 as its authors publish it, in small sizes: names and shapes,
written down from their program."""

import torch
from sam2_names import published as sam2
from torch import Tensor

VISION = 'detector.backbone.vision_backbone'


def published(seed: int = 0) -> dict[str, Tensor]:
    """Random values under the authors' names; the class token's position, which nothing uses, is
    zero."""
    shapes = {f'{VISION}.trunk.{name}': shape for name, shape in _trunk(32, 64).items()}
    for neck in ('convs', 'sam2_convs'):
        shapes |= {f'{VISION}.{neck}.{name}': shape for name, shape in _neck(32, 32).items()}
    shapes['detector.geometry_encoder.norm.weight'] = (32,)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: 0.2 * torch.randn(shape, generator=generator) + name.endswith('norm1.weight')
        for name, shape in shapes.items()
    }
    state[f'{VISION}.trunk.pos_embed'][:, 0] = 0
    tracker = {
        name.replace('mlp.layers.0', 'mlp.lin1').replace('mlp.layers.1', 'mlp.lin2'): value
        for name, value in sam2(seed).items()
        if not name.startswith('image_encoder.')
    }
    return state | {f'tracker.{name}': value for name, value in tracker.items()}


def _trunk(dim: int, mlp: int) -> dict[str, tuple[int, ...]]:
    shapes = {
        'pos_embed': (1, 10, dim),
        'patch_embed.proj.weight': (dim, 3, 14, 14),
        **_layer('ln_pre', dim),
    }
    for block in ('blocks.0', 'blocks.1'):
        shapes |= _layer(f'{block}.norm1', dim) | _layer(f'{block}.norm2', dim)
        shapes |= _layer(f'{block}.attn.qkv', 3 * dim, dim)
        shapes |= _layer(f'{block}.attn.proj', dim, dim)
        shapes |= _layer(f'{block}.mlp.fc1', mlp, dim) | _layer(f'{block}.mlp.fc2', dim, mlp)
    return shapes


def _neck(dim: int, out: int) -> dict[str, tuple[int, ...]]:
    half, quarter = dim // 2, dim // 4
    shapes = {
        **_layer('0.dconv_2x2_0', dim, half, 2, 2, bias=half),
        **_layer('0.dconv_2x2_1', half, quarter, 2, 2, bias=quarter),
        **_layer('1.dconv_2x2', dim, half, 2, 2, bias=half),
    }
    for number, width in enumerate((quarter, half, dim, dim)):
        shapes |= _layer(f'{number}.conv_1x1', out, width, 1, 1)
        shapes |= _layer(f'{number}.conv_3x3', out, out, 3, 3)
    return shapes


def _layer(name: str, *shape: int, bias: int | None = None) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': shape, f'{name}.bias': (bias or shape[0],)}
