"""Options that change nothing are refused; whatever a class takes is accepted."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.overrides import apply_overrides, arguments
from mmsam_peft.datasets import KvasirDataset

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture(scope='module')
def custom():
    return load_config(CONFIGS / 'convlora/custom.py')


@pytest.fixture(scope='module')
def multi_task():
    return load_config(CONFIGS / 'talora/quickstart_multitask.py')


ACCEPTED = {
    'model.backbone.peft.rank': 5,
    'model.backbone.peft.type': 'LoRA',
    'model.backbone.attention': 'eager',
    'model.backbone.unfreeze': ['neck'],
    'model.decode_head.num_queries': 4,
    'model.test_cfg.stride': (8, 8),
    'model.checkpoint': None,
    'train_dataloader.batch_size': 2,
    'train_dataloader.drop_last': True,
    'train_dataloader.dataset.mask_values': 'index',
    'train_dataloader.dataset.indices': 3,
    'train_dataloader.dataset.pipeline.3.prob': 0.1,
    'train_dataloader.dataset.data_prefix.seg_map_path': 'masks',
    'optim_wrapper.type': 'AmpOptimWrapper',
    'optim_wrapper.loss_scale': 'dynamic',
    'optim_wrapper.optimizer.betas': (0.9, 0.9),
    'optim_wrapper.accumulative_counts': 2,
    'param_scheduler.1.end': 3,
    'default_hooks.logger.interval': 5,
    'default_hooks.feature_cache.type': 'FeatureCacheHook',
    'default_hooks.feature_cache.views': 3,
    'default_hooks.checkpoint.by_epoch': False,
    'visualizer.alpha': 0.3,
    'randomness.seed': 3,
    'log_processor.window_size': 5,
    'env_cfg.dist_cfg.timeout': 5,
    'train_cfg.val_begin': 2,
    'test_cfg.fp16': True,
    'tta_pipeline.1.transforms.1.0.prob': 1.0,
    'load_from': 'x.pth',
    'auto_scale_lr.enable': True,
    'experiment_name': 'mine',
}


def test_what_is_accepted(custom):
    """All at once, as on a command line; the type is looked for among the options too."""
    cfg = custom.copy()
    cfg.augment = None  # which a changed pipeline contradicts
    apply_overrides(cfg, ACCEPTED)
    for key, value in ACCEPTED.items():
        node = cfg
        for name in key.split('.'):
            node = node[int(name)] if isinstance(node, list) else node[name]
        assert node == value, key


DATA = (
    'train_dataloader.dataset.data_root',
    'val_dataloader.dataset.data_root',
    'test_dataloader.dataset.data_root',
)
REFUSED = [
    ('data.data_root', 'a variable of the config file, .* set ' + ', '.join(DATA)),
    ('data_root', 'the config has no data_root: set ' + ', '.join(DATA)),
    ('mask_values', 'set train_dataloader.dataset.mask_values, val_dataloader.dataset.mask_values'),
    ('size', r'set model.data_preprocessor.size, .*train_dataloader.dataset.pipeline.2.scale'),
    ('size.0', r'set .*train_dataloader.dataset.pipeline.2.scale.0, '),
    ('image_size.0', 'image_size is one value: set it as a whole, image_size=256'),
    ('image_szie', 'the config has no image_szie: did you mean image_size'),
    ('train_pipeline.3.prob', r'set train_dataloader.dataset.pipeline.3.prob, or change the file'),
    ('metainfo.classes', 'set train_dataloader.dataset.metainfo.classes'),
    ('dataset_type', 'the config has no dataset_type: it has .*train_dataloader'),
    ('vis_backends', 'set visualizer.vis_backends'),
    ('data.nothing', 'which nothing reads any more'),
    ('modle.checkpoint', 'the config has no modle: did you mean model'),
    ('model.bakbone.arch', r'model \(PEFTSegmentor\) has no bakbone: did you mean backbone'),
    ('model.backbone.pefft.rank', r'model.backbone \(SAMViT\) has no pefft: did you mean peft'),
    (
        'model.backbone.peft.ranks',
        r'model.backbone.peft \(ConvLoRA\) has no ranks: did you mean rank',
    ),
    ('model.test_cfg.cropsize', 'did you mean crop_size'),
    (
        'train_dataloader.dataset.mask_value',
        r'train_dataloader.dataset \(FolderDataset\) has no mask_value: did you mean mask',
    ),
    ('train_dataloader.dataset.data_prefix.img_pth', 'did you mean img_path'),
    ('train_dataloader.dataset.metainfo.clases', 'did you mean classes'),
    ('train_dataloader.batchsize', 'train_dataloader has no batchsize: did you mean batch_size'),
    (
        'train_dataloader.dataset.pipeline.9.prob',
        'is a list: name an entry, train_dataloader.dataset.pipeline.0 to',
    ),
    (
        'optim_wrapper.optimizer.lr_',
        r'optim_wrapper.optimizer \(AdamW\) has no lr_: did you mean lr',
    ),
    (
        'default_hooks.chekpoint.interval',
        'did you mean checkpoint.*a new hook needs default_hooks.chekpoint.type',
    ),
    (
        'default_hooks.logger.intervall',
        r'default_hooks.logger \(LoggerHook\) has no intervall: did you mean interval',
    ),
    ('randomness.sead', 'randomness has no sead: did you mean seed'),
    ('env_cfg.cudnn_benchmarks', 'did you mean cudnn_benchmark'),
    (
        'train_cfg.max_epoch',
        r'train_cfg \(EpochBasedTrainLoop\) has no max_epoch: did you mean max_epochs',
    ),
    ('test_pipeline.1.scale', 'set val_dataloader.dataset.pipeline.1.scale, test_dataloader'),
    ('launcher', 'give --launcher'),
    ('custom_imports.imports', 'write it into the config'),
]


@pytest.mark.parametrize('key, message', REFUSED, ids=[key for key, _ in REFUSED])
def test_what_is_refused(custom, key, message):
    before = custom.to_dict()
    with pytest.raises(ValueError, match=f'would change nothing .*\n  {key}: .*{message}'):
        apply_overrides(custom, {key: 1, 'randomness.seed': 0})
    assert custom.to_dict() == before


def test_variables_of_several_tasks(multi_task):
    with pytest.raises(ValueError) as found:
        apply_overrides(
            multi_task, {'train_pipeline': 64, 'tasks': [], 'model.backbone.arch.out_chanels': 4}
        )
    text = str(found.value)
    assert (
        'tasks: a variable' in text
        and 'train_dataloader.dataset.tasks' in text
        and 'val_evaluator.tasks' in text
    )
    assert (
        'train_pipeline: a variable' in text
        and 'model.backbone.arch has no out_chanels: did you mean out_channels' in text
    )
    cfg = multi_task.copy()
    apply_overrides(
        cfg,
        {
            'model.weighting.type': 'PCGrad',
            'test_evaluator.baseline': 'a.json',
            'model.one_by_one': True,
            'model.backbone.arch.mlp_ratio': 4.0,
        },
    )
    assert cfg.model.weighting.type == 'PCGrad'


def test_what_only_some_tools_read(custom):
    cfg = custom.copy()
    apply_overrides(cfg, {'test_pipeline.1.scale': (64, 64)}, also_read=['test_pipeline'])
    assert cfg.test_pipeline[1].scale == (64, 64)


def test_a_variable_that_was_substituted():
    """The text of a value is searched for anywhere, a number only under the variable's name."""
    dataset = dict(type='FolderDataset', data_root='there/', mask_values='index', pipeline=[])
    cfg = Config(
        dict(
            folder='there/',
            classes=2,
            model=dict(num_classes=2, classes=2),
            train_dataloader=dict(dataset=dataset),
        )
    )
    with pytest.raises(ValueError) as found:
        apply_overrides(cfg, dict(folder='here/', classes=3))
    text = str(found.value)
    assert (
        'set train_dataloader.dataset.data_root, or change' in text
        and 'set model.classes, or change' in text
    )


def test_a_preprocessor_that_the_model_has_itself():
    """Of MMSegmentation's bases: the variable is the model's, unless the model has none."""
    cfg = Config(
        dict(
            data_preprocessor=dict(size=(4, 4)),
            model=dict(type='EncoderDecoder', data_preprocessor=dict(size=(4, 4))),
        )
    )
    with pytest.raises(ValueError, match='set model.data_preprocessor.size, or'):
        apply_overrides(cfg, {'data_preprocessor.size': (8, 8)})
    del cfg.model['data_preprocessor']
    apply_overrides(cfg, {'data_preprocessor.size': (8, 8)})


def test_arguments_through_base_classes():
    class Own(torch.nn.Linear):
        def __init__(self, *args, extra=1, **kwargs):
            super().__init__(*args, **kwargs)

    assert arguments(Own) == {'extra', 'in_features', 'out_features', 'bias', 'device', 'dtype'}
    assert {'mask_values', 'data_root', 'img_suffix'} <= arguments(KvasirDataset)
    assert arguments(torch.nn.Identity) is None
    assert arguments(lambda a, *, b: None) == {'a', 'b'}
