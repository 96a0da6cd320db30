"""The encoders of ``transformers``: as its own models compute, whatever layout their files have."""

import copy
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis.inference import init_model
from mmsam_peft.apis.merging import merged_sam_state, verify_merge
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.models.backbones.hf_vit import FAMILIES, HFViT, build_model, sizes_of
from mmsam_peft.peft.conv_lora import ConvLoRALinear
from mmsam_peft.registry import MODELS

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=8)
OWN = dict(
    dinov2=dict(mlp_ratio=2, image_size=32),
    dinov2_with_registers=dict(mlp_ratio=2, image_size=32),
    dinov3_vit=dict(intermediate_size=48),
    vit=dict(intermediate_size=48, image_size=32),
)
LAST = dict(out_indices=(1,))


def arch(model_type: str) -> dict:
    return dict(model_type=model_type, **SIZES, **OWN[model_type])


@pytest.fixture(params=FAMILIES)
def theirs(request, randomise):
    """A model of ``transformers`` with random values everywhere."""
    torch.manual_seed(0)
    model = randomise(build_model(sizes_of(arch(request.param)))).eval()
    model.type = request.param
    return model


@pytest.fixture
def saved(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / 'saved')
    return tmp_path / 'saved'


@pytest.mark.parametrize('size', [(32, 32), (24, 48)])
def test_it_equals_transformers(theirs, saved, size, relative):
    ours = HFViT(arch(theirs.type), size, checkpoint=str(saved), **LAST).eval()
    ours.init_weights()
    x = torch.randn(2, 3, *size, requires_grad=True)
    y = ours(x)[0]
    expected = theirs(x, **FAMILIES[theirs.type].embedded).last_hidden_state
    cells = y.shape[2] * y.shape[3]
    expected = expected[:, -cells:].mT.unflatten(2, y.shape[2:])
    assert relative(y, expected) < 1e-5
    names = {f'image_encoder.{name}': parameter for name, parameter in ours.named_parameters()}
    of_theirs = ours.keys.own(dict(theirs.named_parameters()))
    assert names.keys() == of_theirs.keys() - {'image_encoder.embeddings.mask_token'}
    gradients = torch.autograd.grad((y**3).sum(), [x, *names.values()])
    references = torch.autograd.grad((expected**3).sum(), [x, *(of_theirs[n] for n in names)])
    assert all(relative(a, b) < 1e-5 for a, b in zip(gradients, references, strict=True))


def test_tokens_before_the_map_go_by_the_experts():
    """They get LoRA's part alone; the map is convolved as it lies, wider than high."""
    torch.manual_seed(0)
    model = HFViT(arch('dinov3_vit'), (16, 48), dict(type='ConvLoRA'), **LAST).eval()
    layer = model.blocks[0].layer.attention.q_proj
    assert isinstance(layer, ConvLoRALinear)
    for parameter in layer.parameters():
        parameter.data.normal_()
    tokens, prefix = torch.randn(2, 5 + 2 * 6, 32), 5
    model.layout.size = 2, 6
    y = layer(tokens)
    z = tokens @ layer.lora_A.mT
    plain = tokens @ layer.weight.mT + layer.bias
    assert torch.allclose(
        y[:, :prefix], (plain + layer.scale * z @ layer.B.mT)[:, :prefix], atol=1e-4
    )
    as_map = layer(tokens[:, prefix:].unflatten(1, (2, 6))).flatten(1, 2)
    assert torch.allclose(y[:, prefix:], as_map, atol=1e-4)


def test_checkpointing_with_images_of_two_sizes():
    """Both forward passes come before the backward pass, which computes the blocks again."""
    images = [torch.randn(1, 3, 16, 40), torch.randn(1, 3, 40, 16)]
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = HFViT(
            arch('dinov3_vit'), peft=dict(type='ConvLoRA'), checkpointing=checkpointing, **LAST
        ).eval()
        for name, parameter in model.named_parameters():
            if name in model.peft.added:
                parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
        sum(model(image)[0].square().sum() for image in images).backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*found, strict=True))


def test_the_neck_is_trained_whatever_the_method():
    model = HFViT(arch('dinov2'), peft=dict(type='Frozen'), unfreeze='norm')
    trained = {name.split('.')[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'neck', 'norm'}
    assert model(torch.randn(1, 3, 20, 33))[0].shape == (1, 256, 3, 5), 'padded to whole patches'
    twin = copy.deepcopy(model)
    assert twin.layout is twin.blocks[0].layout is not model.layout


def test_files_that_are_not_whole_or_of_another_family(theirs, saved, tmp_path):
    if theirs.type != 'dinov2':
        return
    state = load_file(saved / 'model.safetensors')
    ours = HFViT(arch('dinov2'), **LAST)
    del state['encoder.layer.1.mlp.fc1.bias']
    save_file(state, tmp_path / 'part.safetensors')
    with pytest.raises(ValueError, match='lacks 1 of .* blocks.1.layer.mlp.fc1.bias'):
        ours.load_sam(ours.read_weights(tmp_path / 'part.safetensors'), 'part')
    with pytest.raises(ValueError, match="vision transformers, which do not fit .*='dinov2_small'"):
        SAMViT.read_weights(saved)
    with pytest.raises(ValueError, match='another architecture'):
        HFViT(dict(arch('dinov2'), hidden_size=64)).load_sam(HFViT.read_weights(saved), 'small')
    save_file({'blocks.0.attn.rel_pos_h': torch.ones(3)}, tmp_path / 'sam.safetensors')
    with pytest.raises(ValueError, match="weights of SAM, which do not .*encoder='sam_vit_b'"):
        HFViT.read_weights(tmp_path / 'sam.safetensors')


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(arch='dinov4'), "arch='dinov4' is unknown: use one of dinov2_small"),
        (dict(arch=dict(model_type='swin')), 'needs model_type, one of dinov2, '),
        (dict(arch=dict(arch('vit'), mlp_ratio=4)), 'arch has mlp_ratio: a vit has .*patch_size'),
        (dict(arch=dict(arch('vit'), attn_implementation='a/b')), 'arch has attn_implementation'),
        (dict(arch=arch('vit'), out_indices=(2,)), 'has blocks 0 to 1'),
        (dict(arch=arch('vit'), peft=dict(type='LST')), 'LST needs a loop over the blocks'),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        HFViT(**settings)


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r"pip install 'mmsam_peft\[hf\]'"):
        HFViT('dinov2_small')


def test_an_adapter_and_a_merged_file(tiny, theirs, saved, run, tmp_path, relative):
    """The header suffices to build the model on its base, and the merged file loads as a base."""
    if theirs.type != 'dinov3_vit':
        return
    cfg = tiny()
    backbone = dict(arch('dinov3_vit'), out_channels=32)
    cfg.model.backbone = dict(
        type='HFViT', arch=backbone, img_size=64, peft=dict(type='LoRA', targets=['qkv', 'mlp'])
    )
    cfg.model.decode_head.stride = 8
    cfg.model.checkpoint = str(saved)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    expected = run(model.eval())
    assert relative(run(model.eval()), expected) == 0
    with torch.autocast('cpu', torch.bfloat16):
        assert relative(run(model), expected) < 0.05
    meta = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
    save_adapter(model, tmp_path / 'adapter.safetensors', meta, cfg)
    again = init_model(tmp_path / 'adapter.safetensors', device='cpu', checkpoint=str(saved))
    assert relative(run(again), expected) < 1e-6
    state = merged_sam_state(model)
    verify_merge(model, state)
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / 'm.safetensors')
    cfg.model.backbone.peft = dict(type='Frozen')
    cfg.model.checkpoint = str(tmp_path / 'm.safetensors')
    merged = MODELS.build(cfg.model)
    merged.init_weights()
    assert relative(run(merged.eval()), expected) < 1e-4
