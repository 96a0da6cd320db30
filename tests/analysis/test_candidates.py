import pytest
import torch
from tiny_encoders import TINY_SAM2 as SMALL
from torch import Tensor, nn

from mmsam_peft.analysis.candidates import build_candidate, run
from mmsam_peft.models.backbones.hiera_keys import SAM2
from mmsam_peft.models.backbones.sam3_keys import SAM3
from mmsam_peft.models.backbones.sam_keys import SAM
from mmsam_peft.models.backbones.sam_vit import ARCHS
from mmsam_peft.models.backbones.variants import VARIANTS, Variant

SAM_3 = dict(
    embed_dim=32,
    depth=2,
    num_heads=2,
    global_attn_indexes=(1,),
    window_size=4,
    learnt_size=4,
    out_channels=32,
)
ARCH = dict(embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,))


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setitem(ARCHS, 'small', ARCH)


def loss_and_gradients(encoder: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    loss = run(
        encoder.double().eval(), torch.randn(2, 3, 240, 240, dtype=torch.float64)
    )  # 15 x 15: four windows
    loss.backward()
    return loss, {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    'candidate, method',
    [
        ('eager:LoRA(rank=2)', 'LoRA(rank=2)'),
        ('plain:LoRA', 'LoRA'),
        ('checkpointed:LoRA', 'LoRA'),
        ('sam:LoRA', 'LoRA'),
        ('sam:DoRA', 'DoRA'),
        ('sam:Full', 'Full'),
        ('sam:Frozen', 'Frozen'),
        ('plain:ConvLoRA', 'ConvLoRA'),
        ('sam+plain:ConvLoRA', 'ConvLoRA'),
        ('eager+checkpointed+plain:ConvLoRA', 'ConvLoRA'),
        (
            'plain:ConvLoRA(num_experts=3, gate_weighting=True)',
            'ConvLoRA(num_experts=3, gate_weighting=True)',
        ),
    ],
)
def test_a_form_computes_the_same(candidate, method):
    encoders = [build_candidate(text, 'small', 240) for text in (method, candidate)]
    for parameter in encoders[0].parameters():
        parameter.data.normal_(std=0.2)
    encoders[1].load_state_dict(encoders[0].state_dict())
    (expected, gradients), (loss, got) = map(loss_and_gradients, encoders)
    torch.testing.assert_close(loss, expected)
    # ours has a gradient, of zero, for an expert that no sample chose; the plain form has none
    assert got.keys() <= gradients.keys() and any(name.startswith('neck') for name in got)
    for name, gradient in gradients.items():
        torch.testing.assert_close(got.get(name, torch.zeros_like(gradient)), gradient)


@pytest.mark.parametrize(
    'name, is_it',
    [
        ('LoRA', lambda e: e.blocks[0].attn.attention == 'fused'),
        ('eager:LoRA', lambda e: e.blocks[0].attn.attention == 'eager'),
        ('sam:LoRA', lambda e: type(e).__name__ == 'ImageEncoderViT'),
        ('checkpointed:LoRA', lambda e: e.blocks[0].checkpointing),
        ('plain:LoRA', lambda e: type(e.blocks[1].attn.qkv).__name__ == 'PlainLoRALinear'),
        ('plain:ConvLoRA', lambda e: type(e.blocks[1].attn.qkv).__name__ == 'PlainConvLoRALinear'),
    ],
)
def test_a_form_is_what_it_says(name, is_it):
    assert is_it(build_candidate(name, 'small', 64))


@pytest.mark.parametrize('form', ['hf', 'hf+eager'])
@pytest.mark.parametrize(
    'name, keys, maps',
    [('small', SAM, 1), ('hiera', SAM2, 3), ('sam3', SAM3, 3)],
)
def test_of_hugging_face(monkeypatch, name, keys, maps, form):
    """The same network with the same LoRA: the same loss, and the same gradients of LoRA's B."""
    arches = dict(hiera=dict(type='Hiera', arch=dict(SMALL)), sam3=dict(type='SAM3ViT', arch=SAM_3))
    for key, backbone in arches.items():
        monkeypatch.setitem(VARIANTS, key, Variant('', backbone))
    method = 'LoRA(split_qkv=True)' if name == 'sam3' else 'LoRA'
    size = 70 if name == 'sam3' else 64
    theirs, ours = (build_candidate(text, name, size).eval() for text in (f'{form}:LoRA', method))
    layers = [p for key, p in theirs.named_parameters() if 'mlp' in key and p.dim() == 2]
    assert layers and min(p.std() for p in layers) > 1e-3  # else gradients are denormal, and slow
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    state = {
        key.removeprefix('model.base_model.model.').replace('.base_layer', ''): value
        for key, value in theirs.state_dict().items()
    }
    base = keys.own({key: value for key, value in state.items() if 'lora' not in key})
    ours.load_sam({'image_encoder.no_mem_embed': torch.zeros(1, 1, 32), **base}, 'theirs')
    layers = [block.attn.qkv for block in ours.blocks]
    factors = {part: [v for k, v in state.items() if f'lora_{part}' in k] for part in 'AB'}
    if name == 'sam3':  # q, k and v are apart
        factors = {
            part: [
                torch.cat(
                    [
                        next(
                            v
                            for k, v in state.items()
                            if f'layers.{i}.attention.{one}_proj.lora_{part}' in k
                        )
                        for one in 'qkv'
                    ]
                )
                for i in range(len(layers))
            ]
            for part in 'AB'
        }
    for layer, A, B in zip(layers, factors['A'], factors['B'], strict=True):
        layer.lora_A.data.copy_(A)
        layer.lora_B.data.copy_(B)
    images = torch.randn(1, 3, size, size)
    losses = [run(encoder, images) for encoder in (ours, theirs)]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    sum(losses).backward()
    wanted = 'q_proj.lora_B' if name == 'sam3' else 'lora_B'
    gradients = [p.grad for key, p in theirs.named_parameters() if wanted in key]
    for layer, gradient in zip(layers, gradients, strict=True):
        got = layer.lora_B.grad[: len(gradient)]
        assert (got - gradient).norm() < 1e-4 * gradient.norm()
    assert theirs.maps == maps and any(
        p.requires_grad for key, p in theirs.named_parameters() if '.neck.' in key
    )


@pytest.mark.parametrize(
    'candidate, message',
    [
        (
            'fused:LoRA',
            "fused:LoRA: form 'fused' is unknown: choose from sam, hf, timm, eager, plain, "
            'checkpointed',
        ),
        ('eager+:LoRA', "form '' is unknown"),
        ('eager:', 'expected a method'),
        ('eager', "peft type='eager' is unknown"),
        ('sam+eager:LoRA', "segment-anything's encoder is eager and has no checkpointing"),
        (
            'sam:LST',
            'LST needs a loop over the blocks .*, which ImageEncoderViT does not have: use one of '
            '.*ConvLoRA',
        ),
        ('hf:ConvLoRA', 'hf:ConvLoRA: hf is there of LoRA, with its rank and alpha'),
        ('hf+plain:LoRA', 'hf goes with eager alone, and timm with no form'),
        ('timm+eager:LoRA', 'hf goes with eager alone, and timm with no form'),
        ('timm:LoRA(targets=["proj"])', 'timm is there of LoRA, with its rank and alpha'),
        ('plain:BitFit', 'plain:BitFit: a plain form is there of LoRA and ConvLoRA'),
        ('LoRA(blocks="last:9")', "blocks='last:9'"),
    ],
)
def test_bad_candidates(candidate, message):
    with pytest.raises(ValueError, match=message.replace('(', r'\(')):
        build_candidate(candidate, 'small', 64)


def test_unknown_arch():
    with pytest.raises(
        ValueError, match="arch='giant' is unknown: use one of tiny, base, large, huge"
    ):
        build_candidate('LoRA', 'giant', 64)
