"""An address of the hub wherever an adapter or a checkpoint is taken."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.apis import MMSegInferencer
from mmseg.apis import init_model as mmseg_init_model
from PIL import Image

from mmsam_peft.adapters.file import read_header
from mmsam_peft.adapters.match import load_adapter, save_adapter
from mmsam_peft.analysis.encoders import load_encoder
from mmsam_peft.apis import AdapterBank, inferencer, init_model

ROOT = Path(__file__).parents[2]
ADAPTER, BASE = 'hf://lab/discs', 'hf://lab/sam/weights/base.pth@v1'


@pytest.fixture
def shared(ready, build, tiny, hub, tmp_path):
    """An adapter and its base on the hub; config and expected weights. Neither is here any more."""
    config, adapter = ready
    meta = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
    model = build(trained=True)
    model.load_base()
    save_adapter(model, adapter, meta, tiny())
    hub.repositories['lab/discs'] = {'adapter.safetensors': adapter.read_bytes()}
    hub.repositories['lab/sam'] = {'weights/base.pth': (tmp_path / 'base.pth').read_bytes()}
    (tmp_path / 'base.pth').rename(tmp_path / 'hidden')
    adapter.unlink()
    return str(config), model.state_dict()


def test_wherever_weights_are_taken(shared, hub, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    config, expected = shared
    options = {'model.checkpoint': BASE}
    on_hub = tmp_path / 'hub_config.py'
    on_hub.write_text(Path(config).read_text() + f'\nmodel["checkpoint"] = {BASE!r}\n')
    config = str(on_hub)
    loaded = load_encoder(f'discs={config},{ADAPTER}').module.state_dict()
    models = dict(
        header=init_model(ADAPTER, checkpoint=BASE),
        options=init_model(ADAPTER, cfg_options=options),
        config=init_model(config, ADAPTER),
        named=init_model(config, f'{ADAPTER}/adapter.safetensors@main'),
        bank=AdapterBank(adapters=dict(discs=ADAPTER), checkpoint=BASE)['discs'],
        inferencer=inferencer(ADAPTER, checkpoint=BASE).model,
        inferencer_of_config=inferencer(config, ADAPTER).model,
        mmseg=mmseg_init_model(config, ADAPTER, 'cpu'),
        mmseg_inferencer=MMSegInferencer(config, ADAPTER, device='cpu', scope='mmsam_peft').model,
        by_hand=init_model(config, None),
        page=init_model(f'{hub.url}/lab/discs/resolve/main/adapter.safetensors', checkpoint=BASE),
    )
    load_adapter(models['by_hand'], ADAPTER)
    for name, model in models.items():
        state = model.state_dict()
        assert state.keys() == expected.keys(), name
        assert all(torch.equal(state[key], value) for key, value in expected.items()), name
    assert all(torch.equal(value, expected[f'backbone.{key}']) for key, value in loaded.items())
    header = read_header(ADAPTER)
    assert header['base_weights']['name'] == 'base.pth'
    assert sum('GET /lab/discs/resolve' in one for one in hub.asked) == 2  # and by the page
    again = init_model(config, ADAPTER)
    save_adapter(again, tmp_path / 'again.safetensors')
    assert read_header(tmp_path / 'again.safetensors')['base_weights']['name'] == 'base.pth'


@pytest.mark.parametrize('tool', ['predict', 'merge_adapter', 'test'])
def test_the_tools(shared, tmp_path, monkeypatch, tool):
    config, _ = shared
    for folder in ('img_dir/val', 'ann_dir/val'):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(np.eye(64, dtype=np.uint8)).save(tmp_path / folder / 'a.png')
    out = tmp_path / 'out'
    arguments = dict(
        predict=[ADAPTER, str(tmp_path / 'img_dir'), '--checkpoint', BASE, '--out-dir', str(out)],
        merge_adapter=[
            ADAPTER,
            str(out / 'merged.pth'),
            '--cfg-options',
            f'model.checkpoint={BASE}',
        ],
        test=[config, ADAPTER, '--out', str(out), '--cfg-options', f'model.checkpoint={BASE}'],
    )[tool]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *arguments])
    try:
        runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
    except SystemExit as end:
        assert not end.code
    made = {path.name for path in out.rglob('*') if path.is_file()}
    assert made & {'a.png', 'merged.pth'}
