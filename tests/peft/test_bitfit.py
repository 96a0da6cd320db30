import pytest
import torch
from segment_anything.modeling.transformer import TwoWayTransformer

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import apply_peft, build_method, count_parameters

ARCH = dict(
    embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
NECK = {'neck.1.bias', 'neck.3.bias'}
HEAD = 3_505_536


def in_block(i: int) -> set[str]:
    return {
        f'blocks.{i}.{layer}.bias'
        for layer in ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.lin1', 'mlp.lin2')
    }


def trained(host: torch.nn.Module) -> set[str]:
    return {name for name, parameter in host.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    'blocks, numbers', [('all', {0, 1, 2}), ('last:1', {2}), ('first:2', {0, 1}), ([1], {1})]
)
def test_biases_of_the_chosen_blocks(blocks, numbers):
    expected = NECK.union(
        *map(in_block, numbers), {'patch_embed.proj.bias'} if 0 in numbers else ()
    )
    assert trained(SAMViT(ARCH, img_size=64, peft=dict(type='BitFit', blocks=blocks))) == expected


def test_biases_of_the_decoder():
    decoder = TwoWayTransformer(depth=1, embedding_dim=16, num_heads=2, mlp_dim=8)
    apply_peft(decoder, build_method(dict(type='BitFit')))
    linears = {
        f'{attention}.{part}_proj'
        for part in ('q', 'k', 'v', 'out')
        for attention in (
            'layers.0.self_attn',
            'layers.0.cross_attn_token_to_image',
            'layers.0.cross_attn_image_to_token',
            'final_attn_token_to_image',
        )
    } | {'layers.0.mlp.lin1', 'layers.0.mlp.lin2'}
    norms = {f'layers.0.norm{i}' for i in (1, 2, 3, 4)} | {'norm_final_attn'}
    assert trained(decoder) == {f'{layer}.bias' for layer in linears | norms}


def test_no_graph_before_the_first_chosen_block():
    model, seen = SAMViT(ARCH, img_size=64, peft=dict(type='BitFit', blocks='last:1')), []
    model.blocks[2].register_forward_hook(
        lambda _, inputs, output: seen.extend(x.requires_grad for x in (*inputs, output))
    )
    model(torch.zeros(1, 3, 64, 64))
    assert seen == [False, True]


def test_published_size():
    with torch.device('meta'):
        model = SAMViT('huge', peft=dict(type='BitFit'))
    assert count_parameters(model)[0] == 452_352
    assert count_parameters(model)[0] + HEAD == 3_957_888


def test_no_such_block():
    with pytest.raises(ValueError, match=r'blocks=\[3\]: .* there are 3 blocks, 0 to 2'):
        SAMViT(ARCH, img_size=64, peft=dict(type='BitFit', blocks=[3]))
