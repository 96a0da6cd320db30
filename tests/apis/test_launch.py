import argparse
import os

import pytest
import torch

from mmsam_peft.apis.launch import build_runner, launch_arguments, load_config, use_mixed_precision


@pytest.fixture
def config(tmp_path):
    def write(text: str = 'a = dict(b=1)') -> str:
        path = tmp_path / 'lora' / 'mine.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)
    return write


@pytest.mark.parametrize(('text', 'work_dir', 'expected'), [
    ('', None, os.path.join('work_dirs', 'lora', 'mine')),
    ("work_dir = 'own'", None, 'own'),
    ("work_dir = 'own'", 'told', 'told'),
])
def test_work_dir(config, text, work_dir, expected):
    assert load_config(config(text), work_dir=work_dir).work_dir == expected


def test_the_default_work_dir_shows_what_changes_the_training(config):
    shown = load_config(config("a = dict(b=1)\noptim_wrapper = dict(type='OptimWrapper')"), {'a.b': 2}, amp='bf16')
    assert shown.work_dir == os.path.join('work_dirs', 'lora', 'mine_a.b=2_amp=bf16')
    assert shown.optim_wrapper.type == 'AutocastOptimWrapper'
    assert load_config(config(), {'a.b': 2}, 'told').work_dir == 'told'
    assert load_config(config(), {'work_dir': 'told', 'a.b': 2}).work_dir == 'told'


def test_options_and_launcher(config):
    cfg = load_config(config(), {'a.b': 2, 'a.c': 3}, launcher='pytorch')
    assert cfg.a == dict(b=2, c=3) and cfg.launcher == 'pytorch'


def test_absent_config():
    with pytest.raises(FileNotFoundError, match='There is no config configs/none.py; .* configs/METHOD/DATA.py'):
        load_config('configs/none.py')


def test_launch_arguments():
    parser = argparse.ArgumentParser()
    launch_arguments(parser)
    assert parser.parse_args([]).launcher == 'none'
    arguments = parser.parse_args(['--launcher', 'slurm', '--local-rank', '1'])
    assert (arguments.launcher, arguments.local_rank) == ('slurm', 1)


def test_mixed_precision(config, monkeypatch):
    cfg = load_config(config("optim_wrapper = dict(type='OptimWrapper', clip_grad=dict(max_norm=1))"))
    use_mixed_precision(cfg, 'bf16')
    assert cfg.optim_wrapper == dict(type='AutocastOptimWrapper', clip_grad=dict(max_norm=1))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='float16 training needs a GPU; on a CPU take --amp bf16'):
        use_mixed_precision(cfg, 'fp16')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    use_mixed_precision(cfg, 'fp16')
    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', clip_grad=dict(max_norm=1), loss_scale='dynamic')


class Hostile:
    def __reduce__(self):
        return os.system, ('true',)


def test_no_load_in_the_process_unpickles_objects(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    build_runner(tiny({'launcher': 'none', 'experiment_name': 'runs'}))
    torch.save(Hostile(), tmp_path / 'hostile.pth')
    with pytest.raises(Exception, match='[Ww]eights.only'):
        torch.load(tmp_path / 'hostile.pth', weights_only=False)
