"""The anatomies of hosts of other packages, by the names of their classes."""

from torch import nn

from .anatomy import Anatomy, BlockParts, describes

VIT = BlockParts(
    linears=dict(qkv='attn.qkv', proj='attn.proj', lin1='mlp.lin1', lin2='mlp.lin2'), mlp='mlp'
)
ATTENTIONS = ('self_attn', 'cross_attn_token_to_image', 'cross_attn_image_to_token')
PROJECTIONS = dict(q='q_proj', k='k_proj', v='v_proj', proj='out_proj')
TWO_WAY = BlockParts(
    linears={
        role: [f'{attention}.{name}' for attention in ATTENTIONS]
        for role, name in PROJECTIONS.items()
    }
    | dict(lin1='mlp.lin1', lin2='mlp.lin2'),
    mlp='mlp',
)
FINAL_ATTENTION = BlockParts(linears=PROJECTIONS, lacks=('lin1', 'lin2'))


@describes('TwoWayTransformer')
def two_way_transformer(host: nn.Module) -> Anatomy:
    """Of segment-anything's mask decoder: its blocks are the two-way layers and the final
    attention."""
    blocks = [*host.layers, host.final_attn_token_to_image]
    return Anatomy(blocks, [*[TWO_WAY] * len(host.layers), FINAL_ATTENTION])


@describes('ImageEncoderViT')
def segment_anything_encoder(host: nn.Module) -> Anatomy:
    return Anatomy(
        host.blocks,
        VIT,
        before=('patch_embed.', 'pos_embed'),
        norms=(nn.LayerNorm, type(host.neck[1])),
        can={'maps'},
        patches=host.patch_embed.proj,
        heads=[block.attn.num_heads for block in host.blocks],
    )


@describes('SamVisionEncoder')
def hugging_face_encoder(host: nn.Module) -> Anatomy:
    return Anatomy(
        host.layers,
        VIT,
        before=('patch_embed.', 'pos_embed'),
        can={'maps'},
        patches=host.patch_embed.projection,
        heads=[block.attn.num_attention_heads for block in host.layers],
    )
