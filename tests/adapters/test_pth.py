"""Checkpoints (.pth) carry an adapter's header; adapters of format 1 still load; configs in files
are not run."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.runner import load_checkpoint
from mmseg.apis import MMSegInferencer
from safetensors.torch import load_file, save_file

from mmsam_peft.adapters.file import sealed
from mmsam_peft.adapters.header import ADAPTER
from mmsam_peft.adapters.match import adapter_header, adapter_state, load_adapter, save_adapter
from mmsam_peft.apis import AdapterBank, init_model
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.registry import MODELS
from mmsam_peft.safe_load import load_safetensors

DATA = Path(__file__).parents[1] / 'data'
META = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
NECK = {'model.backbone.unfreeze': ['neck']}


def write_pth(model, path, header: bool = True) -> str:
    """A checkpoint as training writes it; without ``header`` as older versions did."""
    state = adapter_state(model)
    text = json.dumps(sealed(adapter_header(model, META), state))
    meta = dict(dataset_meta=META, **({ADAPTER: text} if header else {}))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture
def pth(build, tmp_path):
    model = build(trained=True)
    return model, write_pth(model, tmp_path / 'epoch_1.pth')


@pytest.mark.parametrize('header', [True, False])
def test_a_checkpoint_loads(build, tiny, run, tmp_path, header):
    model = build(trained=True)
    path = write_pth(model, tmp_path / 'epoch_1.pth', header)
    assert run(init_model(tiny(), path, 'cpu')).equal(run(model))
    again = build()
    load_checkpoint(again, path)
    assert run(again).equal(run(model))
    (tmp_path / 'base.pth').unlink()  # it holds its base itself
    assert run(init_model(tiny(), path, 'cpu')).equal(run(model))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'model.backbone.peft.alpha': 16},
            'another peft: the file has alpha=32, this model alpha=16. Use the config',
        ),
        (
            {'model.backbone.peft': dict(type='DoRA', _delete_=True)},
            'another peft: the file has type=LoRA',
        ),
        ({'image_size': 80}, 'another img_size'),
        (
            {'model.backbone.arch.window_size': 0},
            'another arch: the file has window_size=3, this model window_size=0',
        ),
        (
            {'model.decode_head.threshold': 0.3},
            'another head: the file has threshold=0.5, this model threshold=0.3',
        ),
        (
            NECK,
            'train different tensors: only the file has .*, only the model '
            ".'backbone.neck.0.weight'",
        ),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(pth, tiny, changes, message):
    for load in (
        lambda: init_model(tiny(changes), pth[1], 'cpu'),
        lambda: AdapterBank(tiny(changes), dict(a=pth[1]), 'cpu'),
    ):
        with pytest.raises(ValueError, match=rf'epoch_1\.pth .*{message}'):
            load()


def test_a_checkpoint_on_another_base_is_refused(pth, tiny, tmp_path):
    state = torch.load(tmp_path / 'base.pth')
    state['image_encoder.blocks.1.norm1.bias'][-1] += 1e-6
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(
        ValueError,
        match=r'epoch_1\.pth was trained on another base .*blocks\.1\.norm1\.bias differs',
    ):
        init_model(tiny({'model.checkpoint': str(tmp_path / 'other.pth')}), pth[1], 'cpu')


def test_a_checkpoint_of_a_training_from_random_values_loads(build, tiny, run, tmp_path):
    model = build({'model.checkpoint': None}, trained=True)
    path = write_pth(model, tmp_path / 'epoch_1.pth')
    assert run(init_model(tiny({'model.checkpoint': None}), path, 'cpu')).equal(run(model))


@pytest.mark.parametrize(
    'name',
    [
        'backbone.blocks.0.attn.qkv.lora_B',
        'decode_head.iou_token.weight',
        'backbone.blocks.1.attn.qkv.weight',
    ],
)
@pytest.mark.parametrize('fault', ['changed', 'absent', 'no tensor'])
def test_damaged_checkpoints(pth, tiny, tmp_path, name, fault):
    (tmp_path / 'base.pth').unlink()
    content = torch.load(pth[1])
    if fault == 'changed':
        content['state_dict'][name].view(-1)[-1] += 1e-3
    elif fault == 'absent':
        del content['state_dict'][name]
    else:
        content['state_dict'][name] = 'text'
    torch.save(content, pth[1])
    with pytest.raises(ValueError, match=r'epoch_1\.pth is damaged'):
        init_model(tiny(), pth[1], 'cpu')


def test_a_checkpoint_that_lacks_tensors_is_refused(build, tiny, tmp_path):
    """Of an older version, or of another method: MMEngine by itself would leave the rest at random
    values."""
    path = write_pth(
        build({'model.backbone.peft': dict(type='Frozen', _delete_=True)}),
        tmp_path / 'old.pth',
        header=False,
    )
    with pytest.raises(
        ValueError,
        match=r"lacks 4 of the model's tensors, such as backbone\.blocks\.0\.attn\.qkv\.lora_A",
    ):
        init_model(tiny(), path, 'cpu')


def test_freezing_a_model_changes_nothing_of_its_files(build, tiny, tmp_path):
    trained = build(trained=True)
    save_adapter(trained, tmp_path / 'thawed.safetensors', META)
    header = adapter_header(trained)
    trained.requires_grad_(False)
    save_adapter(trained, tmp_path / 'frozen.safetensors', META)
    assert adapter_header(trained) == header
    assert (tmp_path / 'frozen.safetensors').read_bytes() == (
        tmp_path / 'thawed.safetensors'
    ).read_bytes()
    for thawed in (False, True):
        model = build().requires_grad_(thawed)
        load_adapter(model, tmp_path / 'frozen.safetensors')
        assert all(
            value.equal(model.state_dict()[key]) for key, value in trained.state_dict().items()
        )
    bank = AdapterBank(tiny(), dict(a=tmp_path / 'frozen.safetensors'), 'cpu')
    for name in ('b', 'c'):
        bank.add(name, tmp_path / 'thawed.safetensors')
    qkv, update = (
        [
            model.get_parameter(f'backbone.blocks.0.attn.qkv.{name}').data_ptr()
            for model in bank.values()
        ]
        for name in ('weight', 'lora_B')
    )
    assert len(set(qkv)) == 1 and len(set(update)) == 3


ARCH = dict(
    embed_dim=16,
    depth=2,
    num_heads=2,
    global_attn_indexes=[1],
    window_size=3,
    patch_size=8,
    out_channels=16,
)


@pytest.fixture
def model_of_format_1(tiny, tmp_path):
    """The model that tests/data/adapter_format_1.safetensors was written from, on its base."""
    base = load_file(DATA / 'adapter_format_1_expected.safetensors')
    logits = base.pop('logits')
    save_file(base, tmp_path / 'base.safetensors')
    config = dict(
        type='PEFTSegmentor',
        checkpoint=str(tmp_path / 'base.safetensors'),
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[128] * 3, std=[64] * 3, bgr_to_rgb=True, size=(32, 32)
        ),
        backbone=dict(
            type='SAMViT', arch=ARCH, img_size=32, peft=dict(type='ConvLoRA', num_experts=2)
        ),
        decode_head=dict(type='SAMMaskHead', in_channels=16, num_heads=2, mlp_dim=16),
        test_cfg=dict(mode='whole'),
    )
    return MODELS.build(ConfigDict(config)).eval(), logits


def test_an_adapter_of_format_1_predicts_what_it_did(model_of_format_1, relative):
    model, expected = model_of_format_1
    path = DATA / 'adapter_format_1.safetensors'
    assert json.loads(load_safetensors(path)[1][ADAPTER])['format'] == 1
    load_adapter(model, path)
    image = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32).roll(37, -1)
    with torch.no_grad():
        logits = model.encode_decode(image, [dict(img_shape=(32, 32))])
    assert relative(logits, expected) < 1e-4  # without the updates of the encoder: 4e-3


@pytest.mark.parametrize('place', ['meta', 'message_hub'])
def test_a_config_inside_a_checkpoint_is_not_run(tmp_path, place):
    code = f'open({str(tmp_path / "ran")!r}, "w")\n'
    code += f'model = dict(type="SAMViT", arch={ARCH}, img_size=32)\n'
    checkpoint = dict(
        meta={}, state_dict=SAMViT(ARCH, 32).state_dict(), message_hub=dict(runtime_info={})
    )
    (checkpoint['meta'] if place == 'meta' else checkpoint['message_hub']['runtime_info'])[
        'cfg'
    ] = code
    torch.save(checkpoint, tmp_path / 'crafted.pth')
    for arguments in (
        dict(weights=str(tmp_path / 'crafted.pth')),
        dict(model=None, weights=str(tmp_path / 'crafted.pth')),
    ):
        with pytest.raises((ValueError, TypeError), match='Cannot find the config|model'):
            MMSegInferencer(**arguments, scope='mmsam_peft', device='cpu')
    assert not (tmp_path / 'ran').exists()
