"""A tree of METHOD/DATA.py, and what is missing in it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from mmsam_peft.analysis.suite import plan as planning
from mmsam_peft.analysis.suite.cells import Cells, Data
from mmsam_peft.analysis.suite.plan import plan
from mmsam_peft.apis.launch import load_config

TINY = Path(__file__).parents[2] / 'data' / 'tiny.py'
NETWORK = """
_base_ = BASE
model = dict(
    _delete_=True, type='EncoderDecoder',
    backbone=dict(type='UNet', base_channels=4, num_stages=1, strides=[1], enc_num_convs=[1],
                  dec_num_convs=[], downsamples=[], enc_dilations=[1], dec_dilations=[]),
    decode_head=dict(type='FCNHead', in_channels=4, channels=8, num_convs=1, concat_input=False,
                     in_index=0, num_classes=2))
"""


@pytest.fixture
def cells(tmp_path, tiny) -> Cells:
    """Methods lora, convlora and the network unet, on discs; of coins only lora. The data of coins
    is not there."""
    for split in ('train', 'val'):
        for kind in ('img_dir', 'ann_dir'):
            (tmp_path / kind / split).mkdir(parents=True)
            image = np.zeros((8, 8) if kind == 'ann_dir' else (8, 8, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / kind / split / 'a.png')
    base = f'_base_ = {str(TINY)!r}\n'
    away = "dict(dataset=dict(data_root='/nowhere/'))"
    files = {
        'lora/discs': base,
        'convlora/discs': base + "model = dict(backbone=dict(peft=dict(type='ConvLoRA')))",
        'unet/discs_s': NETWORK.replace('BASE', repr(str(TINY))),
        'lora/coins': base + f'train_dataloader = {away}',
    }
    for name, text in files.items():
        path = tmp_path / f'tree/{name}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Cells(tmp_path / 'tree')


def make(cells: Cells, methods: list[str], data=('discs',), **asked):
    sets = [Data.parse(text) for text in data]
    return plan(cells, sets, methods, cells.tree.parent / 'runs', **asked)


def test_cells_calls_and_networks(cells):
    runs = make(cells, ['lora', 'convlora(rank=2)', 'LoRA(rank=5)', 'unet_s'])
    found = [run.config.model.backbone.get('peft') for run in runs]
    assert found == [
        dict(type='LoRA'), dict(type='ConvLoRA', rank=2), dict(type='LoRA', rank=5), None
    ]  # fmt: skip
    assert [run.facts['data'] for run in runs] == ['discs'] * 4
    assert runs[0].folder == cells.tree.parent / 'runs/discs/lora/seed0'


def test_rates_archs_and_seeds(cells):
    runs = make(cells, ['lora', 'unet_s'], lrs=[1e-4], seeds=[3, 4])
    assert [(run.method, run.facts['lr'], run.seed) for run in runs] == [
        ('lora', 1e-4, 3), ('unet_s', 1e-4, 3), ('lora', 1e-4, 4), ('unet_s', 1e-4, 4)
    ]  # fmt: skip
    assert all(run.config.optim_wrapper.optimizer.lr == 1e-4 for run in runs)
    assert runs[2].folder == cells.tree.parent / 'runs/discs/lora/lr=0.0001/seed4'


def test_everything_missing_is_reported_at_once(cells, monkeypatch):
    (cells.tree.parent / 'base.pth').unlink()
    with pytest.raises(ValueError) as error:
        make(cells, ['lora', 'convlora', 'absent', 'LoRA(rnk=1)'], ['discs', 'coins'])
    text = str(error.value)
    for expected in (
        'Nothing was trained, because of',
        'lora on discs: weights ',
        'base.pth: no such file',
        'convlora on discs: weights ',
        'absent on discs: no cell ',
        "unexpected keyword argument 'rnk'",
        'lora on coins: data set /nowhere/: ',
        'convlora on coins: no cell ',
        'convlora has discs; coins is there for lora.',
    ):
        assert expected in text, expected
    assert not (cells.tree.parent / 'runs').exists()


def test_what_is_there_can_be_made_alone(cells, capsys):
    runs = make(cells, ['lora', 'convlora'], ['discs', 'coins'], skip_missing=True)
    assert [(run.method, run.facts['data']) for run in runs] == [
        ('lora', 'discs'), ('convlora', 'discs')
    ]  # fmt: skip
    said = capsys.readouterr().out
    assert 'Left out:' in said and 'convlora on coins: no cell' in said


def test_weights_behind_an_address(cells, monkeypatch, capsys):
    options = {'model.checkpoint': 'https://example.invalid/sam.pth'}
    with pytest.raises(ValueError, match='example.invalid.*cannot be downloaded'):
        make(Cells(cells.tree, options), ['lora'])

    class Answer:
        def close(self):
            pass

    monkeypatch.setattr(planning.urllib.request, 'urlopen', lambda *args, **kwargs: Answer())
    assert make(Cells(cells.tree, options), ['lora'])
    assert 'Weights to be downloaded: https://example.invalid/sam.pth' in capsys.readouterr().out


def test_weights_of_the_hub(cells, hub):
    """They are fetched before many runs ask for them."""
    hub.repositories['lab/sam'] = {'base.pth': b'weights'}
    hub.private.add('lab/other')
    assert make(Cells(cells.tree, {'model.checkpoint': 'hf://lab/sam/base.pth'}), ['lora'])
    assert 'GET /lab/sam/resolve/main/base.pth' in hub.asked
    with pytest.raises(ValueError, match='hf://lab/other: The hub has no lab/other, or it is priv'):
        make(Cells(cells.tree, {'model.checkpoint': 'hf://lab/other'}), ['lora'])


def test_no_rate_is_chosen_on_the_test_set(cells):
    with pytest.raises(ValueError, match='lora on discs: its validation set is its test set'):
        make(cells, ['lora'], lrs=[1e-3, 1e-2])
    options = {
        'val_dataloader.dataset.data_prefix.img_path': 'img_dir/train',
        'val_dataloader.dataset.data_prefix.seg_map_path': 'ann_dir/train',
    }
    assert len(make(Cells(cells.tree, options), ['lora'], lrs=[1e-3, 1e-2])) == 2


def test_methods_in_a_config_that_is_named(cells):
    runs = make(cells, ['LoRA', str(cells.tree / 'unet/{data}_s.py')], [f'discs={TINY}'])
    assert [run.config.model.type for run in runs] == ['PEFTSegmentor', 'EncoderDecoder']
    with pytest.raises(ValueError, match='expected the name of a data set in the tree, or NAME='):
        Data.parse('a.py')


def test_sizes_of_the_encoder(cells, monkeypatch):
    """Networks have none, and are made once."""
    monkeypatch.setattr(planning, 'build_to_count', lambda config: _no_model())
    cell = cells.tree / 'lora/discs.py'
    cell.write_text(cell.read_text() + "encoder = 'sam_vit_l'\n")
    runs = make(cells, ['lora', 'unet_s'], archs=['base', 'huge'], check_files=False)
    assert [(run.method, run.facts['arch']) for run in runs] == [
        ('lora', 'base'), ('lora', 'huge'), ('unet_s', None)
    ]  # fmt: skip
    assert [run.config.model.backbone.get('arch') for run in runs[:2]] == ['base', 'huge']
    assert runs[1].folder == cells.tree.parent / 'runs/discs/lora/arch=huge/seed0'
    runs[1].write()
    assert load_config(str(runs[1].folder / 'config.py')).model.backbone.arch == 'huge'


def _no_model():
    model = nn.Module()
    model.backbone = nn.Linear(1, 1)
    return model
