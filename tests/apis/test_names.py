"""Mistyped names in config files are refused, with the nearest one; variables are free."""

from pathlib import Path

import pytest

from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.names import check_names

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def write(tmp_path):
    def write(line: str, base: str = 'lora/quickstart.py') -> Path:
        (tmp_path / 'mine.py').write_text(f"_base_ = '{CONFIGS / base}'\n{line}\n")
        return tmp_path / 'mine.py'

    return write


@pytest.mark.parametrize(
    ('line', 'meant'),
    [
        ('image_szie = 128', 'image_size'),
        ('image_sizes = 128', 'image_size'),
        ('max_epoch = 3', 'max_epochs'),
        ('batchsize = 3', 'batch_size'),
        ('lr_ = 3e-4', 'lr'),
        ('train_dataloder = dict(batch_size=3)', 'train_dataloader'),
        ('optim_wraper = dict()', 'optim_wrapper'),
        ('default_hook = dict()', 'default_hooks'),
    ],
)
def test_names_at_the_top(write, line, meant):
    with pytest.raises(ValueError, match=rf'mine.py has {line.split()[0]}.*did you mean {meant}\?'):
        load_config(write(line))


@pytest.mark.parametrize(
    'line',
    [
        'size = 64; data = dict(); classes = (0,); num_classes = 3; crop_size = 1; norm_cfg = 1',
        'max_epoch = 6\ntrain_cfg = dict(max_epochs=max_epoch)\nparam_scheduler = _base_.'
        'param_scheduler',
        'train_dataloader_ = _base_.train_dataloader',
        '_image_szie = 3',
    ],
)
def test_variables_are_free(write, line):
    check_names(load_config(write(line)))


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('optim_wrapper = dict(optimizer=dict(lr_=1))', r'optimizer \(AdamW\) has no lr_: .* lr\?'),
        ('train_dataloader = dict(batchsize=1)', 'has no batchsize: did you mean batch_size'),
        ('train_dataloader = dict(dataset=dict(numimages=1))', 'did you mean num_images'),
        ('model = dict(backbone=dict(peft=dict(ranks=1)))', r'peft \(LoRA\) has no ranks: .* rank'),
        ('model = dict(test_cfg=dict(modes="slide"))', 'model.test_cfg has no modes: .* mode'),
        ('randomness = dict(seeds=1)', 'randomness has no seeds: did you mean seed'),
        ('default_hooks = dict(logger=dict(type="LoggerHook", intervals=3))', 'mean interval'),
        ('val_evaluator = dict(thresholds=3)', r'\(BinaryMetric\) has no thresholds'),
    ],
)
def test_names_inside(write, line, message):
    with pytest.raises(ValueError, match=rf'names that nothing reads:\n.*{message}'):
        check_names(load_config(write(line)))


@pytest.mark.slow
def test_no_false_alarm_in_the_zoo():
    for method in ('convlora', 'talora', 'segformer', 'pspnet', 'hrnet', 'hf_peft', 'pretrain'):
        for path in (CONFIGS / method).glob('*.py'):
            check_names(load_config(path))
