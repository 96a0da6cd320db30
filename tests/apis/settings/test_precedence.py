"""Settings in the file, settings and places on the command line, places changed in Python: the
command line holds, or both are named."""

import pytest
from mmengine.config import Config

from mmsam_peft.apis.configs import own_config, read_config
from mmsam_peft.apis.launch import load_config
from mmsam_peft.engine.schedules import without_empty_parts

from .test_settings import SINGLE, write  # noqa: F401

WINS = {
    'lr': (0.01, 'optim_wrapper.optimizer.lr', 0.02),
    'batch_size': (2, 'train_dataloader.batch_size', 3),
    'max_epochs': (6, 'train_cfg.max_epochs', 3),
    'val_interval': (2, 'train_cfg.val_interval', 3),
    'patience': (4, 'default_hooks.early_stopping.patience', 5),
}
REFUSED = {
    'image_size': (128, 'model.backbone.img_size', 64),
    'encoder': ('sam_vit_b', 'model.backbone.arch', 'large'),
    'method': ('LoRA(rank=4)', 'model.backbone.peft.rank', 8),
    'augment': ('light', 'train_dataloader.dataset.pipeline', [dict(type='LoadMask')]),
    'windows': (1.0, 'model.test_cfg.mode', 'whole'),
    'pixels': (
        dict(low=0, high=9),
        'test_dataloader.dataset.pipeline.0.pixels',
        dict(low=0, high=8),
    ),
    'protocol': ('conv_lora_2024', 'train_dataloader.batch_size', 8),
    'patience': (4, 'default_hooks.early_stopping', None),
}


def value_at(cfg: Config, place: str):
    node = cfg
    for name in place.split('.'):
        node = node[int(name)] if name.isdigit() else node[name]
    return node


@pytest.mark.parametrize('name', WINS)
def test_a_place_that_means_the_setting(write, tmp_path, name):  # noqa: F811
    value, place, other = WINS[name]
    path = write(SINGLE, f'{name} = {value!r}')
    cfg = load_config(path, {place: other})
    assert cfg[name] == value_at(cfg, place) == other
    assert load_config(path, {name: other})[name] == other
    cfg.dump(tmp_path / 'saved.py')
    assert value_at(read_config(tmp_path / 'saved.py'), place) == other
    with pytest.raises(ValueError, match=f'(?s){name}={value}, but .*: {other}'):
        load_config(write(SINGLE), {name: value, place: other})


@pytest.mark.parametrize('name', REFUSED)
@pytest.mark.parametrize('where', ['file', 'command line'])
def test_a_place_that_contradicts(write, name, where):  # noqa: F811
    value, place, other = REFUSED[name]
    in_file = where == 'file'
    path = write('lora/kvasir.py', *[f'{name} = {value!r}'] * in_file)
    if name == 'patience' and not in_file:
        return  # the hook is named as a whole: nothing is left to set
    with pytest.raises(ValueError, match=rf'(?s){name}=.*{place.rpartition(".")[0]}'):
        load_config(path, {**({} if in_file else {name: value}), place: other})


def test_old_configs(write, tmp_path):  # noqa: F811
    """A variable that was once left behind, in a saved config and in one that inherits it."""
    saved = tmp_path / 'saved.py'
    cfg = load_config(write(SINGLE, 'image_size = 128'))
    cfg.image_size = (1024, 1024)
    cfg.dump(saved)
    child = tmp_path / 'child.py'
    child.write_text("_base_ = 'saved.py'\nlr = 0.1\n")
    for path in (saved, child):
        with pytest.raises(ValueError, match=r'(?s)1024\), but other places .*img_size: \(128'):
            read_config(path)


def test_places_changed_in_python(write):  # noqa: F811
    path = write(SINGLE, 'lr = 0.1', 'windows = 1.0', 'image_size = 128')
    raw = own_config(Config.fromfile(path))
    assert raw.optim_wrapper.optimizer.lr == 0.1 and raw.model.backbone.img_size == (128, 128)
    cfg = read_config(path)
    cfg.model.test_cfg.stride = (7, 7)
    assert own_config(cfg).model.test_cfg.stride == (7, 7)
    cfg.model.backbone.img_size = 64
    with pytest.raises(ValueError, match=r'img_size: \(64, 64\)'):
        own_config(cfg)


def test_a_warm_up_without_an_iteration():
    part = dict(type='LinearLR', begin=0, end=0.05, convert_to_iter_based=True)
    rest = dict(part, begin=0.05, end=1)
    assert without_empty_parts([part, rest], 10) == [rest]
    assert without_empty_parts([part, rest], 20) == [part, rest]
