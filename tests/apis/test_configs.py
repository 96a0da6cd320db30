"""Configs of pure Python: classes as types, bases through ``read_base``."""

from pathlib import Path

import pytest

from mmsam_peft.apis.configs import read_config
from mmsam_peft.apis.inference import init_model, require_adaptable
from mmsam_peft.apis.launch import build_runner, load_config, use_mixed_precision
from mmsam_peft.apis.pipelines import type_name

PURE = """
from mmengine.config import read_base
from mmengine.hooks import EMAHook
from torch.optim import SGD

from mmsam_peft.datasets import FolderDataset
from mmsam_peft.engine import AdapterHook, AutocastOptimWrapper
from mmsam_peft.models import PEFTSegmentor
from mmsam_peft.peft.conv_lora import ConvLoRA

with read_base():
    from .tiny import *

model.update(dict(type=PEFTSegmentor))
model['backbone']['peft'] = dict(type=ConvLoRA, num_experts=2)
train_dataloader['dataset'].update(dict(type=FolderDataset))
optim_wrapper.update(dict(type=AutocastOptimWrapper, optimizer=dict(type=SGD, lr=0.1)))
custom_hooks = [dict(type=AdapterHook), dict(type=EMAHook)]
"""


@pytest.fixture
def pure(tiny, tmp_path) -> Path:
    tiny().dump(tmp_path / 'tiny.py')
    (tmp_path / 'pure.py').write_text(PURE)
    return tmp_path / 'pure.py'


def test_types_become_names(pure):
    cfg = load_config(
        pure, {'model.backbone.peft.num_experts': 3, 'optim_wrapper.optimizer.momentum': 0.5}
    )
    assert cfg.model.type == 'PEFTSegmentor' and cfg.model.backbone.peft == dict(
        type='ConvLoRA', num_experts=3
    )
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.1, weight_decay=1e-4, momentum=0.5)
    assert [hook.type for hook in cfg.custom_hooks] == ['AdapterHook', 'EMAHook']
    use_mixed_precision(cfg, 'bf16')
    require_adaptable(cfg, 'adapter.safetensors')
    with pytest.raises(ValueError, match=r'peft \(ConvLoRA\) has no expert'):
        load_config(pure, {'model.backbone.peft.expert': 3})


def test_a_runner_and_a_model_of_it(pure):
    """The runner writes the config beside its log, and into checkpoints."""
    cfg = load_config(pure, {'experiment_name': 'pure'})
    runner = build_runner(cfg)
    names = [type(hook).__name__ for hook in runner.hooks]
    assert names.count('AdapterHook') == 1 and {
        'EMAHook',
        'CheckDataHook',
        'PlainCheckpointHook',
    } <= set(names)
    assert read_config(next(Path(cfg.work_dir).glob('*.py'))).model.type == 'PEFTSegmentor'
    assert init_model(pure, None, 'cpu').peft_cfg['type'] == 'ConvLoRA'


def test_a_class_without_a_registry(tmp_path):
    (tmp_path / 'a.py').write_text(
        'from collections import OrderedDict\nfrom mmengine.config import read_base\n'
        'a = [dict(type=OrderedDict)]\n'
    )
    assert read_config(tmp_path / 'a.py').a == [dict(type='collections.OrderedDict')]


@pytest.mark.parametrize('kind', ['LoadMask', 'mmsam_peft.datasets.LoadMask', dict])
def test_type_name(kind):
    assert type_name(dict(type=kind)) == ('dict' if kind is dict else 'LoadMask')
