"""Checkpoints without the base's weights give the same model, and ask for the right base."""

import json

import pytest
import torch

from mmsam_peft.adapters.apart import APART, without_base
from mmsam_peft.adapters.file import sealed
from mmsam_peft.adapters.header import ADAPTER
from mmsam_peft.adapters.match import adapter_header, adapter_state
from mmsam_peft.adapters.positions import TABLES
from mmsam_peft.apis import init_model


@pytest.fixture
def light(build, tmp_path):
    model = build(trained=True)
    state = adapter_state(model)
    text = json.dumps(sealed(adapter_header(model), state))
    content = dict(
        meta={ADAPTER: text, APART: 'base.pth'},
        state_dict=without_base(model, model.state_dict(), TABLES),
    )
    torch.save(content, tmp_path / 'epoch_1.pth')
    return model, tmp_path / 'epoch_1.pth'


def test_what_is_left_out(light):
    model, path = light
    kept = torch.load(path)['state_dict'].keys()
    everything = model.state_dict().keys()
    assert 'backbone.blocks.0.attn.qkv.weight' in everything - kept
    assert {'backbone.pos_embed', 'backbone.blocks.1.attn.qkv.lora_A'} <= kept
    assert adapter_state(model).keys() <= kept < everything


def test_it_loads(light, tiny, run):
    model, path = light
    assert run(init_model(tiny(), str(path), 'cpu')).equal(run(model))


def test_the_base_was_moved_or_is_another(light, tiny, tmp_path):
    state = torch.load(tmp_path / 'base.pth')
    state['image_encoder.blocks.1.norm1.bias'][-1] += 1e-3
    torch.save(state, tmp_path / 'other.pth')
    other = tiny({'model.checkpoint': str(tmp_path / 'other.pth')})
    with pytest.raises(ValueError, match=r'epoch_1\.pth was trained on another base'):
        init_model(other, str(light[1]), 'cpu')
    (tmp_path / 'base.pth').unlink()
    with pytest.raises(FileNotFoundError, match=r'base\.pth'):
        init_model(tiny(), str(light[1]), 'cpu')
