"""Whole models of SAM 3: adapter files, merging, the bank, stored maps, several tasks."""

import pytest
import torch
from mmengine.config import ConfigDict
from sam3_names import SMALL, VISION, published

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis import AdapterBank, init_model
from mmsam_peft.apis.merging import merged_sam_state, verify_merge, write_state
from mmsam_peft.models.backbones.frozen_prefix import Encoded, FrozenPrefix

META = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=4),
    dict(type='Depth', name='depth'),
]


@pytest.fixture
def options(tmp_path):
    """``options(method)``: the tiny config with a small SAM 3 in its authors' layout."""
    torch.save({'model': published()}, tmp_path / 'sam3.pt')

    def options(peft: str, **settings) -> dict:
        return {
            'model.checkpoint': str(tmp_path / 'sam3.pt'),
            'model.backbone': dict(
                type='SAM3ViT',
                arch=dict(SMALL),
                img_size=64,
                peft=dict(type=peft, **settings),
                _delete_=True,
            ),
            'model.decode_head.fine': True,
            'model.decode_head.stride': 14,
            'model.decode_head.mlp_dim': 64,
        }

    return options


def move(model) -> None:
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.1


def test_an_adapter_file_suffices(options, build, tiny, run, tmp_path, monkeypatch):
    """Beside its base; and the bank holds two on one base. 64 pixels are padded to 70, five
    cells."""
    monkeypatch.setenv('MMSAM_PEFT_WEIGHTS', str(tmp_path))
    expected, paths = {}, {}
    for name in ('LoRA', 'ConvLoRA'):
        model, paths[name] = build(options(name)), tmp_path / f'{name}.safetensors'
        move(model)
        save_adapter(model, paths[name], META, tiny(options(name)))
        expected[name] = run(model)
        assert expected[name].shape == (2, 1, 64, 64)
        assert run(init_model(str(paths[name]), device='cpu')).equal(expected[name])
    bank = AdapterBank(tiny(options('LoRA')), dict(a=paths['LoRA']), 'cpu')
    bank.add('b', paths['ConvLoRA'], tiny(options('ConvLoRA')))
    for name, method in (('a', 'LoRA'), ('b', 'ConvLoRA'), ('a', 'LoRA')):
        assert run(bank[name]).equal(expected[method])
    first, second = (bank[name].backbone.blocks[1].mlp.lin1.weight for name in 'ab')
    assert first.data_ptr() == second.data_ptr()


@pytest.mark.parametrize('peft', ['LoRA', 'SSF'])
def test_merged_weights_are_a_file_of_sam_3(options, build, run, tmp_path, peft):
    """Every name of its authors and no other; what the text and the videos need is as it was;
    loaded again, the model predicts the same."""
    model = build(options(peft))
    model.cfg, model.dataset_meta = ConfigDict(model=ConfigDict(type='', **model.made_of)), META
    move(model)
    state, base = merged_sam_state(model), published()
    assert {name: x.shape for name, x in state.items()} == {
        name: x.shape for name, x in base.items()
    }
    changed = {name for name, value in state.items() if not value.equal(base[name])}
    assert f'{VISION}.trunk.blocks.1.attn.qkv.weight' in changed
    parts = f'{VISION}.trunk.', 'tracker.sam_mask_decoder.'
    assert all(name.startswith(parts) for name in changed)
    assert verify_merge(model, state) < 1e-5
    write_state(state, tmp_path / 'merged.safetensors')
    again = build({**options('Frozen'), 'model.checkpoint': str(tmp_path / 'merged.safetensors')})
    expected = run(model)
    torch.testing.assert_close(run(again), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


@pytest.mark.parametrize('peft', ['TALoRA', 'TaskLoRA'])
def test_several_tasks_from_stored_maps(options, build, peft):
    """Each task's outputs are those of a model that has it alone, and those from the maps of a
    frozen beginning."""
    head = dict(
        type='MSAMHead',
        in_channels=32,
        num_heads=2,
        mlp_dim=64,
        fine=True,
        stride=14,
        _delete_=True,
    )
    several = {
        'model.type': 'MultiTaskSegmentor',
        'model.tasks': TASKS,
        'model.decode_head': head,
    }
    settings = {
        name: value
        for name, value in options(peft, blocks='last:1').items()
        if not name.startswith('model.decode_head.')
    }
    model = build({**settings, **several})
    move(model)
    images, names = torch.randn(2, 3, 64, 64), list(model.tasks)
    prefix = FrozenPrefix(model.backbone)
    with torch.no_grad():
        outputs = model.outputs(images, names)
        stored = model.outputs(Encoded(prefix, prefix(images)), names)
        for name in names:
            alone = model.outputs(images, [name])[name]
            for found in (alone, stored[name]):
                torch.testing.assert_close(found, outputs[name], rtol=1e-4, atol=1e-4)
