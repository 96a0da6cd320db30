import pytest
import torch
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import apply_peft, build_method, count_parameters

ARCH = dict(
    embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
NECK = {'neck.1', 'neck.3'}


def trained(host: nn.Module) -> set[str]:
    return {name for name, parameter in host.named_parameters() if parameter.requires_grad}


def of(layers: set[str]) -> set[str]:
    return {f'{layer}.{name}' for layer in layers for name in ('weight', 'bias')}


@pytest.mark.parametrize(
    'blocks, numbers', [('all', {0, 1, 2}), ('last:1', {2}), ('first:2', {0, 1}), ([1], {1})]
)
def test_norms_of_the_chosen_blocks(blocks, numbers):
    model = SAMViT(ARCH, img_size=64, peft=dict(type='NormTuning', blocks=blocks))
    assert trained(model) == of({f'blocks.{i}.norm{j}' for i in numbers for j in (1, 2)} | NECK)


def test_norms_of_the_decoder():
    decoder = TwoWayTransformer(depth=2, embedding_dim=16, num_heads=2, mlp_dim=8)
    apply_peft(decoder, build_method(dict(type='NormTuning', blocks=[1])))
    assert trained(decoder) == of({f'layers.1.norm{i}' for i in (1, 2, 3, 4)} | {'norm_final_attn'})


def test_norms_are_found_by_type_not_by_name():
    model = SAMViT(ARCH, img_size=64)
    model.blocks[0].attn.proj = nn.Sequential(model.blocks[0].attn.proj, nn.LayerNorm(32))
    model.blocks[1].norm1 = nn.Linear(32, 32)
    apply_peft(model, build_method(dict(type='NormTuning')))
    norms = {f'blocks.{i}.norm{j}' for i in (0, 1, 2) for j in (1, 2)} - {'blocks.1.norm1'}
    assert trained(model) == of(norms | NECK | {'blocks.0.attn.proj.1'})


def test_size():
    with torch.device('meta'):
        model = SAMViT('huge', peft=dict(type='NormTuning'))
    assert count_parameters(model)[0] == 32 * 2 * 2 * 1280 + 2 * 2 * 256


def test_no_such_block():
    with pytest.raises(ValueError, match="blocks='last:4': .* there are 3 blocks, 0 to 2"):
        SAMViT(ARCH, img_size=64, peft=dict(type='NormTuning', blocks='last:4'))
