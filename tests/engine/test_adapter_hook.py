from itertools import count
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image
from safetensors.torch import load_file

from mmsam_peft.apis.launch import build_runner
from mmsam_peft.datasets.checks.dataset import DatasetError
from mmsam_peft.engine.hooks import RELIED_ON, AdapterHook, CheckDataHook
from mmsam_peft.registry import HOOKS

TINY = Path(__file__).parents[1] / 'data' / 'tiny.py'
NUMBERS = count()


def with_averages(kind: str) -> dict:
    """Options of a training whose averaged weights are scored, and differ from the trained ones."""
    return {
        'custom_hooks': [
            *(dict(type=name) for name in RELIED_ON),
            dict(type='EMAHook', ema_type=kind),
        ],
        'optim_wrapper.optimizer.lr': 0.02,
        'train_cfg.max_epochs': 2,
    }


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['ExponentialMovingAverage', 'StochasticWeightAverage'])
def test_averaged_weights_are_saved_as_they_were_scored(make_runner, root, kind):
    runner = make_runner(with_averages(kind))
    runner.train()
    work, best = root / 'work', runner.message_hub.get_info('best_score')
    pth = next(work.glob('best_Dice_*.pth'))
    for name, file in (('last', work / 'epoch_2.pth'), ('best', pth)):
        adapter, checkpoint = load_file(work / f'adapter_{name}.safetensors'), torch.load(file)
        assert all(value.equal(checkpoint['state_dict'][key]) for key, value in adapter.items())
        raw = {key: checkpoint['ema_state_dict'][f'module.{key}'] for key in adapter}
        assert not any(value.equal(raw[key]) for key, value in adapter.items() if 'lora_B' in key)
    for weights in (work / 'adapter_best.safetensors', pth):
        tested = make_runner({**with_averages(kind), 'load_from': str(weights)}).test()
        assert tested['Dice'] == pytest.approx(best, abs=1e-3), weights
    resumed = make_runner({**with_averages(kind), 'resume': True, 'train_cfg.max_epochs': 3})
    resumed.train()
    assert resumed.epoch == 3


def test_a_checkpoint_of_another_model_is_refused_wherever_it_is_loaded(make_runner, root):
    make_runner({'train_cfg.max_epochs': 1}).train()
    path = str(root / 'work' / 'epoch_1.pth')
    message = (
        r'epoch_1\.pth (was trained on another (peft|head): the file has .*this model'
        r'|belongs to a training with other settings:\n  model\.backbone\.peft\.alpha)'
    )
    for changes, options, start in (
        ({'model.backbone.peft.alpha': 16}, {'resume': True}, 'train'),
        ({'model.backbone.peft.type': 'DoRA'}, {'load_from': path}, 'train'),
        ({'model.decode_head.threshold': 0.4}, {'load_from': path}, 'test'),
    ):
        runner = make_runner({**options, **changes, 'train_cfg.max_epochs': 2})
        with pytest.raises(ValueError, match=message):
            getattr(runner, start)()


@HOOKS.register_module(force=True)
class OwnHook(Hook):
    """A user's."""


@pytest.mark.parametrize(
    'own',
    [
        [],
        [dict(type='OwnHook')],
        [dict(type=OwnHook), dict(type=CheckDataHook)],
        [
            OwnHook(),
            dict(type='mmsam_peft.AdapterHook'),
            dict(type='mmsam_peft.engine.hooks.PlainCheckpointHook'),
        ],
    ],
)
def test_a_users_hooks_leave_those_that_files_rely_on(root, scope, monkeypatch, own):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.setattr(Config, 'pretty_text', property(str))
    config = Config.fromfile(TINY)
    config.merge_from_dict({'custom_hooks': own, 'train_cfg.max_epochs': 1, 'launcher': 'none'})
    config.experiment_name = config.visualizer.name = f'own_hooks_{next(NUMBERS)}'
    runner = build_runner(config)
    names = [type(hook).__name__ for hook in runner.hooks]
    assert all(names.count(name) == 1 for name in RELIED_ON) and names.count('OwnHook') == len(
        own[:1]
    )
    if not own:
        runner.train()
        assert (root / 'work' / 'adapter_last.safetensors').exists()
        torch.load(root / 'work' / 'epoch_1.pth', weights_only=True)
        Image.new('L', (64, 64), 7).save(root / 'ann_dir' / 'train' / '0.png')
        with pytest.raises(DatasetError, match='0.png: 7'):
            runner.train()


@pytest.mark.slow
def test_a_hook_in_default_hooks_is_not_added_twice(root, scope, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    config = Config.fromfile(TINY)
    config.merge_from_dict(
        {'custom_hooks': [], 'default_hooks.adapter': dict(type='AdapterHook'), 'launcher': 'none'}
    )
    config.experiment_name = config.visualizer.name = 'twice'
    assert sum(isinstance(hook, AdapterHook) for hook in build_runner(config).hooks) == 1
