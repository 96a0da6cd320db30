"""Tiny models of every kind, with a test pipeline, as ``init_model`` makes them."""

import pytest
import torch
from tiny_encoders import TINY_SAM2, TINY_SAM3

from mmsam_peft.apis.inference import init_model

TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=4),
    dict(type='SurfaceNormals', name='normals'),
    dict(type='Saliency', name='saliency'),
]
STEPS = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiTaskResize', size=64),
    dict(type='PackMultiTaskInputs'),
]
HIERA = dict(TINY_SAM2, stages=(1, 1, 1, 1), global_attn_indexes=(2,))
MULTICLASS = {
    'model.decode_head.num_classes': 3,
    'model.decode_head.num_queries': 4,
    'model.decode_head.loss_decode': dict(type='SetPredictionLoss'),
}


def peft(kind: str, **settings) -> dict:
    return {'model.backbone.peft': dict(type=kind, _delete_=True, **settings)}


def other_encoder(kind: str, arch: dict, method: str) -> dict:
    backbone = dict(type=kind, arch=arch, img_size=64, peft=dict(type=method), _delete_=True)
    head = dict(fine=True, stride=14 if kind == 'SAM3ViT' else 16)
    return {
        'model.backbone': backbone,
        'model.checkpoint': None,
        **{f'model.decode_head.{key}': value for key, value in head.items()},
    }


def several_tasks(kind: str) -> dict:
    head = dict(type='MSAMHead', in_channels=32, num_heads=2, mlp_dim=32, _delete_=True)
    return {
        'model.type': 'MultiTaskSegmentor',
        'model.tasks': TASKS,
        'model.decode_head': head,
        'model.data_preprocessor.test_cfg': dict(size=(64, 64)),
        'test_pipeline': STEPS,
        **peft(kind, **(dict(orthonormal=True) if kind == 'TALoRA' else {})),
    }


MODELS = {
    'ConvLoRA': lambda: {
        **peft('ConvLoRA', num_experts=3),
        'model.decode_head.depth': 1,
        'model.backbone.arch.depth': 1,
        'model.backbone.arch.global_attn_indexes': (),
        'model.checkpoint': None,
    },
    'ConvLoRA, expected': lambda: peft('ConvLoRA', num_experts=2, mixture='expected'),
    'LoRA, classes': lambda: {**peft('LoRA'), **MULTICLASS},
    'VPT': lambda: peft('VPT'),
    'prompts': lambda: {'model.decode_head.prompts': True, 'model.checkpoint': None},
    'SAM 2': lambda: other_encoder('Hiera', HIERA, 'ConvLoRA'),
    'SAM 3': lambda: other_encoder('SAM3ViT', TINY_SAM3, 'LoRA'),
    'TALoRA': lambda: several_tasks('TALoRA'),
    'mSAM': lambda: several_tasks('LoRA'),
}


@pytest.fixture
def trained(tiny):
    """``trained(options)``: a model as ``init_model`` makes it, with random values in what it
    trains."""

    def trained(options: dict | None = None):
        config = tiny({'test_dataloader.dataset.lazy_init': True, **(options or {})})
        model = init_model(config, device='cpu')
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * 0.1
        return model

    return trained
