import pytest
import torch
from mmengine.config import Config
from segment_anything.build_sam import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l

from mmsam_peft.apis.inference import build_to_count
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import count_parameters

ARCH = dict(
    embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
SAM_DECODER, SAM_PROMPT_ENCODER = 4_058_340, 6_220


def trained(**settings) -> set[str]:
    model = SAMViT(ARCH, img_size=64, **settings)
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_frozen_trains_nothing_and_full_everything():
    everything = {name for name, _ in SAMViT(ARCH, img_size=64).named_parameters()}
    assert trained(peft=dict(type='Frozen')) == set()
    assert trained(peft=dict(type='Full')) == everything
    assert trained() == everything


def test_unfreeze_trains_named_parts_beside_the_method():
    neck = {
        'neck.0.weight',
        'neck.1.weight',
        'neck.1.bias',
        'neck.2.weight',
        'neck.3.weight',
        'neck.3.bias',
    }
    assert trained(peft=dict(type='Frozen'), unfreeze=['neck']) == neck
    lora = trained(peft=dict(type='LoRA'))
    assert trained(peft=dict(type='LoRA'), unfreeze=['neck', 'pos_embed']) == lora | neck | {
        'pos_embed'
    }


def test_frozen_keeps_no_graph():
    assert (
        not SAMViT(ARCH, img_size=64, peft=dict(type='Frozen'))
        .train()(torch.zeros(1, 3, 64, 64))[0]
        .requires_grad
    )


def test_unfreeze_that_matches_nothing_lists_the_parts():
    with pytest.raises(
        ValueError,
        match="unfreeze='nek' matches no parameter of the encoder: its parts are blocks, neck",
    ):
        trained(peft=dict(type='Frozen'), unfreeze=['nek'])


@pytest.mark.parametrize(
    ('arch', 'peft', 'expected'),
    [
        ('huge', dict(type='Frozen'), 3_505_536),
        ('huge', dict(type='LoRA', rank=3), 3_997_056),
        ('huge', dict(type='ConvLoRA', rank=3, num_experts=8), 4_020_096),
        ('huge', dict(type='BitFit'), 3_957_888),
        ('huge', dict(type='Adapter'), 3_915_136),
        ('huge', dict(type='VPT'), 3_997_056),
        ('huge', dict(type='LST'), 11_493_536),
        ('huge', dict(type='SAMAdapter'), 3_980_576),
        ('huge', dict(type='SSF'), 4_409_216),
        ('base', dict(type='LoRA', rank=3), 3_616_128),
        ('base', dict(type='ConvLoRA', rank=3, num_experts=8), 3_624_768),
        ('large', dict(type='LoRA', rank=3), 3_800_448),
        ('large', dict(type='ConvLoRA', rank=3, num_experts=8), 3_817_728),
    ],
)
def test_trained_parameters_of_the_paper(arch, peft, expected):
    """At ViT-H, those of the Conv-LoRA table in millions: 3.51, 4.00, 4.02, 3.96, 3.92, 4.00,
    11.49, 3.98, 4.42 (SSF, 0.01 more than ours)."""
    backbone, head = dict(type='SAMViT', arch=arch, peft=peft), dict(type='SAMMaskHead')
    model = build_to_count(
        Config(dict(model=dict(type='PEFTSegmentor', backbone=backbone, decode_head=head)))
    )
    assert count_parameters(model)[0] == expected


@pytest.mark.parametrize(
    ('arch', 'build', 'total'),
    [
        ('base', build_sam_vit_b, 93_735_472),
        ('large', build_sam_vit_l, 312_342_832),
        ('huge', build_sam_vit_h, 641_090_608),
    ],
)
def test_encoder_is_sams_to_the_shape(arch, build, total):
    with torch.device('meta'):
        ours, sam = SAMViT(arch), build()
    shapes = [
        {name: value.shape for name, value in model.state_dict().items()}
        for model in (ours, sam.image_encoder)
    ]
    assert shapes[0] == shapes[1]
    assert (
        count_parameters(ours)[1] + SAM_DECODER + SAM_PROMPT_ENCODER
        == count_parameters(sam)[1]
        == total
    )
