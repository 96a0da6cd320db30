"""A model of several tasks, in a file."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.registry import MODELS


@pytest.fixture
def tasks_config(tiny) -> Config:
    """Of classes and depth, with the encoder adapted for each. The name of the classes begins as
    that of a loss does."""
    tasks = [
        dict(type='SemanticSegmentation', name='loss_map', num_classes=3),
        dict(type='Depth', name='depth'),
    ]
    head = dict(type='MSAMHead', in_channels=32, num_heads=2, mlp_dim=32, _delete_=True)
    options = {
        'model.type': 'MultiTaskSegmentor',
        'model.tasks': tasks,
        'model.backbone.peft': dict(type='TALoRA', _delete_=True),
        'model.decode_head': head,
    }
    config = tiny(options)
    config.test_pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadMultiTaskLabels'),
        dict(type='MultiTaskResize', size=64),
        dict(type='PackMultiTaskInputs'),
    ]
    return config


@pytest.fixture
def tasks_adapter(tasks_config, tmp_path) -> Path:
    model = MODELS.build(tasks_config.model)
    model.init_weights()
    save_adapter(model, tmp_path / 'tasks.safetensors', {}, tasks_config)
    return tmp_path / 'tasks.safetensors'
