import mmseg.registry
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry

import mmsam_peft.registry as ours

NODES = [name for name, value in vars(mmseg.registry).items() if isinstance(value, Registry)]


def test_every_registry_of_mmsegmentation_has_a_child():
    assert len(NODES) == 21
    for name in NODES:
        child, parent = getattr(ours, name), getattr(mmseg.registry, name)
        assert child.scope == 'mmsam_peft' and child.parent is parent and child.name == parent.name
        assert parent.children['mmsam_peft'] is child
        assert set(parent._locations) <= set(child._locations)


@pytest.mark.parametrize(
    'node, name',
    [
        ('MODELS', 'SAMViT'),
        ('MODELS', 'PEFTSegmentor'),
        ('MODELS', 'FCNHead'),
        ('MODELS', 'SegDataPreProcessor'),
        ('MODEL_WRAPPERS', 'MMDistributedDataParallel'),
        ('VISUALIZERS', 'SegLocalVisualizer'),
        ('VISBACKENDS', 'LocalVisBackend'),
        ('HOOKS', 'SegVisualizationHook'),
        ('HOOKS', 'CheckpointHook'),
        ('DATASETS', 'BaseSegDataset'),
        ('DATA_SAMPLERS', 'InfiniteSampler'),
        ('TRANSFORMS', 'PackSegInputs'),
        ('TRANSFORMS', 'RandomFlip'),
        ('METRICS', 'IoUMetric'),
        ('EVALUATOR', 'Evaluator'),
        ('LOOPS', 'IterBasedTrainLoop'),
        ('OPTIMIZERS', 'AdamW'),
        ('OPTIM_WRAPPERS', 'OptimWrapper'),
        ('PARAM_SCHEDULERS', 'PolyLR'),
        ('LOG_PROCESSORS', 'LogProcessor'),
    ],
)
def test_bare_names_resolve(node, name):
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        assert getattr(ours, node).get(name).__name__ == name


def test_models_build_from_bare_names_through_any_registry():
    model = dict(
        type='EncoderDecoder',
        backbone=dict(
            type='SAMViT',
            arch=dict(embed_dim=8, depth=1, num_heads=1, global_attn_indexes=(), out_channels=8),
            img_size=32,
        ),
        decode_head=dict(
            type='FCNHead',
            in_channels=8,
            channels=8,
            num_classes=3,
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
        ),
    )
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        for registry in (ours.MODELS, mmseg.registry.MODELS):
            assert type(registry.build(model).backbone).__name__ == 'SAMViT'


def test_methods_are_found():
    assert ours.PEFT.get('ConvLoRA').__name__ == 'ConvLoRA'


def test_configs_inherit_from_mmsegmentation(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(
        "_base_ = 'mmseg::_base_/models/fcn_r50-d8.py'\nmodel = "
        'dict(decode_head=dict(num_classes=2))\n'
    )
    model = Config.fromfile(path).model
    assert model.decode_head.type == 'FCNHead' and model.decode_head.num_classes == 2
