import os
import platform
import warnings

import pytest
import torch

from mmsam_peft.apis.launch import (
    build_runner,
    load_config,
    use_mixed_precision,
    warn_of_slow_bf16,
)


@pytest.fixture
def config(tmp_path):
    def write(text: str = 'a = dict(b=1)') -> str:
        path = tmp_path / 'lora' / 'mine.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize(
    ('text', 'work_dir', 'expected'),
    [
        ('', None, os.path.join('work_dirs', 'lora', 'mine')),
        ("work_dir = 'own'", None, 'own'),
        ("work_dir = 'own'", 'told', 'told'),
    ],
)
def test_work_dir(config, text, work_dir, expected):
    assert load_config(config(text), work_dir=work_dir).work_dir == expected


def test_the_default_work_dir_shows_what_changes_the_training(config):
    path, seed = config("optim_wrapper = dict(type='OptimWrapper')"), {'randomness.seed': 2}
    shown = load_config(path, seed, amp='bf16')
    assert shown.work_dir == os.path.join('work_dirs', 'lora', 'mine_amp=bf16_randomness.seed=2')
    assert shown.optim_wrapper.type == 'AutocastOptimWrapper'
    assert load_config(path, seed, 'told').work_dir == 'told'
    assert load_config(path, {'work_dir': 'told', **seed}).work_dir == 'told'


def test_options_and_launcher(config):
    cfg = load_config(
        config('randomness = dict(seed=1)'),
        {'randomness.seed': 2, 'randomness.deterministic': True},
        launcher='pytorch',
    )
    assert cfg.randomness == dict(seed=2, deterministic=True) and cfg.launcher == 'pytorch'


def test_mmengines_own_hooks_need_no_type(config):
    """MMEngine builds ``default_hooks.logger`` as it is, and then misses its type."""
    text = 'default_hooks = dict(timer=None, checkpoint=dict(interval=7))'
    hooks = load_config(config(text), {'default_hooks.logger.interval': 5}).default_hooks
    assert hooks.logger == dict(type='LoggerHook', interval=5) and hooks.timer is None
    assert hooks.checkpoint == dict(type='CheckpointHook', interval=7)


def test_absent_config():
    with pytest.raises(
        FileNotFoundError, match='There is no config configs/none.py; .* configs/METHOD/DATA.py'
    ):
        load_config('configs/none.py')


def test_mixed_precision(config, monkeypatch):
    cfg = load_config(
        config("optim_wrapper = dict(type='OptimWrapper', clip_grad=dict(max_norm=1))")
    )
    use_mixed_precision(cfg, 'bf16')
    assert cfg.optim_wrapper == dict(type='AutocastOptimWrapper', clip_grad=dict(max_norm=1))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='float16 training needs a GPU; on a CPU use --amp bf16'):
        use_mixed_precision(cfg, 'fp16')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    use_mixed_precision(cfg, 'fp16')
    assert cfg.optim_wrapper == dict(
        type='AmpOptimWrapper', clip_grad=dict(max_norm=1), loss_scale='dynamic'
    )


@pytest.mark.parametrize(
    'machine, amx, dtype, expected',
    [
        ('x86_64', False, 'bf16', True),
        ('x86_64', True, 'bf16', False),
        ('arm64', False, 'bf16', False),
        ('x86_64', None, 'bf16', False),
        ('x86_64', False, 'fp16', False),
    ],
)
def test_a_cpu_on_which_bfloat16_is_slow(monkeypatch, machine, amx, dtype, expected):
    """Nothing is said where PyTorch cannot know."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(platform, 'machine', lambda: machine)
    if amx is None:
        monkeypatch.delattr(torch.cpu, '_is_amx_tile_supported', raising=False)
    else:
        monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: amx, raising=False)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        warn_of_slow_bf16(dtype)
    assert [('no AMX' in str(one.message)) for one in found] == [True] * expected


class Hostile:
    def __reduce__(self):
        return os.system, ('true',)


def test_no_load_in_the_process_unpickles_objects(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    build_runner(tiny({'launcher': 'none', 'experiment_name': 'runs'}))
    torch.save(Hostile(), tmp_path / 'hostile.pth')
    with pytest.raises(Exception, match='[Ww]eights.only'):
        torch.load(tmp_path / 'hostile.pth', weights_only=False)
