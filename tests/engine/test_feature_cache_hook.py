"""Where maps are stored, what is said about it and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmsam_peft.engine.hooks import FeatureCacheHook

TINY = Path(__file__).parents[1] / 'data' / 'tiny.py'
UNPACKED = [dict(type='LoadImageFromFile'), dict(type='LoadMask')]
FROZEN = {'model.backbone.peft': dict(type='Frozen')}


def cache(folder: Path, **options) -> dict:
    return {
        'default_hooks.feature_cache': dict(type='FeatureCacheHook', folder=str(folder), **options)
    }


@pytest.fixture
def folder_of(make_runner, root):
    """``folder_of(options)``: where a training would store its maps."""

    def find(options: dict) -> str:
        before = set((root / 'c').glob('*'))
        runner = make_runner({**FROZEN, **cache(root / 'c', **options.pop('hook', {})), **options})
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.model.init_weights()
        hook = next(hook for hook in runner.hooks if isinstance(hook, FeatureCacheHook))
        hook.before_train(runner)
        place = runner.train_dataloader.dataset.pipeline.store.folder
        assert set((root / 'c').glob('*')) == before | {place}
        assert json.loads((place / 'about.json').read_text())['arch']['embed_dim'] == 32
        return place.name

    return find


@pytest.mark.slow
def test_whatever_the_maps_depend_on_leads_to_a_folder_of_its_own(folder_of, root):
    late = {'model.backbone.peft': dict(type='LoRA', blocks=[1])}
    same_place = [
        {},
        dict(hook=dict(views=5, max_gb=1)),
        {'randomness.seed': 7},
        {'model.decode_head.mlp_dim': 64},
        {'optim_wrapper.optimizer.lr': 1.0},
        {'train_dataloader.batch_size': 1},
    ]
    assert len({folder_of(dict(options)) for options in same_place}) == 1
    assert (
        len(
            {
                folder_of({'model.backbone.peft': dict(type='LoRA', blocks=[1], rank=rank)})
                for rank in (2, 3)
            }
        )
        == 1
    )
    pipeline = [dict(step) for step in Config.fromfile(TINY).train_pipeline]
    pipeline[2]['keep_ratio'] = True
    others = [
        {},
        late,
        {'model.backbone.unfreeze': ['neck']},
        {'train_dataloader.dataset.pipeline': pipeline},
        {'model.data_preprocessor.size': (128, 128)},
        {'model.data_preprocessor.mean': [1, 2, 3]},
        {'model.backbone.arch.mlp_ratio': 4.0},
        {'optim_wrapper.type': 'AutocastOptimWrapper'},
    ]
    places = [folder_of(options) for options in others]
    state = torch.load(root / 'base.pth')
    state['image_encoder.blocks.1.mlp.lin2.bias'][0] += 1e-6
    torch.save(state, root / 'base.pth')
    assert folder_of(dict(late)) == places[1], 'block 1 is not in the prefix'
    assert len({*places, folder_of({})}) == len(places) + 1


def test_what_is_said(make_runner, root, caplog):
    runner = make_runner({**FROZEN, **cache(root / 'c', views=4, max_gb=2e-5)})
    lines = []
    runner.logger.info = lines.append
    hook = next(hook for hook in runner.hooks if isinstance(hook, FeatureCacheHook))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    hook.before_train(runner)
    assert (
        len(lines) == 1
    )  # 4 x 4 cells of 32 channels, 2 bytes each: 1024 bytes, 24 of them; room for 20000
    assert (
        'the output of blocks 0 to 1 and neck, 6 images x 4 views of 0.00 MB, 0.0 GB in all; 0 of '
        'these 24 are' in lines[0]
    )
    assert (
        'max_gb=2e-05 leaves no room for 19% of them' in lines[0]
        and f'{root / "c"} holds 0.0 GB' in lines[0]
    )


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'model.backbone.peft': dict(type='LoRA')},
            'LoRA trains blocks.0.attn.qkv.lora_A: the encoder has no frozen beginning',
        ),
        (
            {'model.data_preprocessor.size': None, 'model.data_preprocessor.size_divisor': 16},
            'size=None and batch_augments=None',
        ),
        (
            {'train_dataloader.dataset.pipeline': UNPACKED},
            'FolderDataset does not end with PackSegInputs',
        ),
    ],
)
def test_what_cannot_be_stored(make_runner, root, options, message):
    runner = make_runner({**FROZEN, **cache(root / 'c'), **options})
    with pytest.raises(ValueError, match=message):
        runner.train()


def test_a_folder_that_cannot_be_written(make_runner, root):
    """Training goes on without stored maps; what is there stays."""
    (root / 'c').write_text('a file')
    runner = make_runner({**FROZEN, **cache(root / 'c'), 'train_cfg.max_epochs': 1})
    runner.train()
    assert runner.iter == 3 and (root / 'c').read_text() == 'a file'


def test_no_views():
    with pytest.raises(ValueError, match='views=0'):
        FeatureCacheHook(views=0)
