"""The tensors of a file of SAM 2 as its authors publish it, in small sizes: names and shapes,
written down from their program."""

import torch
from torch import Tensor

ATTENTIONS = ('self_attn', 'cross_attn_token_to_image', 'cross_attn_image_to_token')


def published(seed: int = 0, dim: int = 32, mlp: int = 64) -> dict[str, Tensor]:
    """Random values under the authors' names."""
    shapes = {**_trunk(), **_decoder(dim, mlp), **_prompts(dim), **_memory(dim)}
    for number, width in enumerate((128, 64, 32, 16)):
        shapes |= _layer(f'image_encoder.neck.convs.{number}.conv', dim, width, 1, 1)
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 0.2 * torch.randn(shape, generator=generator) + name.endswith('norm1.weight')
        for name, shape in shapes.items()
    }


def _layer(name: str, *shape: int, bias: int | None = None) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': shape, f'{name}.bias': (bias or shape[0],)}


def _trunk() -> dict[str, tuple[int, ...]]:
    trunk = 'image_encoder.trunk'
    shapes = {
        f'{trunk}.pos_embed': (1, 16, 3, 3),
        f'{trunk}.pos_embed_window': (1, 16, 8, 8),
        **_layer(f'{trunk}.patch_embed.proj', 16, 3, 7, 7),
    }
    widths = [(16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 128)]
    for number, (dim, out) in enumerate(widths):
        block = f'{trunk}.blocks.{number}'
        shapes |= _layer(f'{block}.norm1', dim) | _layer(f'{block}.norm2', out)
        shapes |= _layer(f'{block}.attn.qkv', 3 * out, dim)
        shapes |= _layer(f'{block}.attn.proj', out, out)
        shapes |= _layer(f'{block}.mlp.layers.0', 4 * out, out)
        shapes |= _layer(f'{block}.mlp.layers.1', out, 4 * out)
        if dim != out:
            shapes |= _layer(f'{block}.proj', out, dim)
    return shapes


def _decoder(dim: int, mlp: int) -> dict[str, tuple[int, ...]]:
    decoder, shapes = 'sam_mask_decoder', {}
    for layer in (f'{decoder}.transformer.layers.{number}' for number in (0, 1)):
        for attention in ATTENTIONS:
            inner = dim if attention == 'self_attn' else dim // 2
            shapes |= _attention(f'{layer}.{attention}', dim, inner)
        for number in range(1, 5):
            shapes |= _layer(f'{layer}.norm{number}', dim)
        shapes |= _layer(f'{layer}.mlp.layers.0', mlp, dim)
        shapes |= _layer(f'{layer}.mlp.layers.1', dim, mlp)
    shapes |= _attention(f'{decoder}.transformer.final_attn_token_to_image', dim, dim // 2)
    shapes |= _layer(f'{decoder}.transformer.norm_final_attn', dim)
    for token, count in (('iou_token', 1), ('mask_tokens', 4), ('obj_score_token', 1)):
        shapes[f'{decoder}.{token}.weight'] = (count, dim)
    shapes |= _layer(f'{decoder}.output_upscaling.0', dim, dim // 4, 2, 2, bias=dim // 4)
    shapes |= _layer(f'{decoder}.output_upscaling.1', dim // 4)
    shapes |= _layer(f'{decoder}.output_upscaling.3', dim // 4, dim // 8, 2, 2, bias=dim // 8)
    shapes |= _layer(f'{decoder}.conv_s0', dim // 8, dim, 1, 1)
    shapes |= _layer(f'{decoder}.conv_s1', dim // 4, dim, 1, 1)
    for number in range(4):
        shapes |= _mlp(f'{decoder}.output_hypernetworks_mlps.{number}', dim, dim, dim // 8)
    shapes |= _mlp(f'{decoder}.iou_prediction_head', dim, 256, 4)
    return shapes | _mlp(f'{decoder}.pred_obj_score_head', dim, dim, 1)


def _attention(name: str, dim: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes = _layer(f'{name}.out_proj', dim, inner)
    for part in 'qkv':
        shapes |= _layer(f'{name}.{part}_proj', inner, dim)
    return shapes


def _mlp(name: str, dim: int, hidden: int, out: int) -> dict[str, tuple[int, ...]]:
    sizes = ((hidden, dim), (hidden, hidden), (out, hidden))
    layers = [_layer(f'{name}.layers.{number}', *size) for number, size in enumerate(sizes)]
    return layers[0] | layers[1] | layers[2]


def _prompts(dim: int) -> dict[str, tuple[int, ...]]:
    prompts = 'sam_prompt_encoder'
    shapes = {f'{prompts}.pe_layer.positional_encoding_gaussian_matrix': (2, dim // 2)}
    for name in (
        *(f'point_embeddings.{i}' for i in range(4)),
        'not_a_point_embed',
        'no_mask_embed',
    ):
        shapes[f'{prompts}.{name}.weight'] = (1, dim)
    for number, shape in {
        0: (4, 1, 2, 2),
        1: (4,),
        3: (16, 4, 2, 2),
        4: (16,),
        6: (dim, 16, 1, 1),
    }.items():
        shapes |= _layer(f'{prompts}.mask_downscaling.{number}', *shape)
    return shapes


def _memory(dim: int) -> dict[str, tuple[int, ...]]:
    """Some of what only videos need."""
    return {
        'no_mem_embed': (1, 1, dim),
        'no_mem_pos_enc': (1, 1, dim),
        'maskmem_tpos_enc': (7, 1, 1, 8),
        'no_obj_ptr': (1, dim),
        **_layer('memory_attention.layers.0.self_attn.q_proj', dim, dim),
        **_layer('memory_attention.layers.0.norm1', dim),
        **_layer('memory_encoder.mask_downsampler.encoder.0', 4, 1, 3, 3),
        **_mlp('obj_ptr_proj', dim, dim, dim),
        **_layer('mask_downsample', 1, 1, 4, 4),
    }
