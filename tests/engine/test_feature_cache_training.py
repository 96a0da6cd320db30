"""Whole trainings on stored maps."""

from copy import deepcopy
from itertools import count
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmsam_peft.datasets.feature_cache import HalfMap
from mmsam_peft.engine.hooks import FeatureCacheHook

pytestmark = pytest.mark.slow

FLIP = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadMask'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
NO_VALIDATION = {
    'val_cfg': None,
    'val_dataloader': None,
    'val_evaluator': None,
    'default_hooks.checkpoint.save_best': None,
}
SHORT = {
    **NO_VALIDATION,
    'model.backbone.peft': dict(type='Frozen'),
    'custom_hooks': [dict(type='PlainCheckpointHook')],
    'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=2, _delete_=True),
}
NAMES = count()


def cache(folder: Path, **options) -> dict:
    return {
        'default_hooks.feature_cache': dict(type='FeatureCacheHook', folder=str(folder), **options)
    }


@pytest.fixture
def train(make_runner, root):
    """``train(options)``: what a short training of the tiny model comes to."""

    def run(options: dict) -> dict[str, torch.Tensor]:
        runner = make_runner(
            deepcopy({**SHORT, 'work_dir': str(root / f'run{next(NAMES)}'), **options})
        )
        runner.train()
        return runner.model.state_dict()

    return run


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(
        value.equal(second[key]) for key, value in first.items()
    )


def items(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob('*/??/*')}


class Rounding(Hook):
    """The plain path with its map rounded as the cache rounds it."""

    def __init__(self, block: int | None) -> None:
        self.block = block

    def before_train(self, runner) -> None:
        encoder = runner.model.backbone

        def round(module, _, y):
            (whole,) = y if self.block is None else (y,)
            rounded = torch.stack([HalfMap.of(x).restored('cpu') for x in whole])
            return (rounded,) if self.block is None else rounded

        (encoder if self.block is None else encoder.blocks[self.block]).register_forward_hook(round)


def mobile_sam(peft: dict) -> dict:
    """With MobileSAM's encoder, whose stages have several widths and sizes."""
    arch = dict(
        embed_dims=(8, 16, 24, 32),
        depths=(1, 1, 2, 1),
        num_heads=(2, 3, 4),
        window_sizes=(3, 2, 3),
        out_channels=32,
    )
    backbone = dict(type='TinyViT', arch=arch, img_size=64, peft=peft, _delete_=True)
    return {'model.backbone': backbone, 'model.checkpoint': None}


def test_two_maps(train, root):
    """HQ-SAM's head reads an early map as well, which the cache keeps beside the last."""
    options = {
        'model.checkpoint': None,
        'model.backbone.early': True,
        'model.backbone.arch.depth': 3,
        'model.backbone.peft': dict(type='LoRA', blocks=[2]),
        'model.backbone.arch.global_attn_indexes': (0,),
        'model.decode_head.hq': dict(channels=32),
        'optim_wrapper.optimizer': dict(type='SGD', lr=0.05, _delete_=True),
    }
    cached, plain = train({**options, **cache(root / 'c', views=1)}), train(options)
    assert len(items(root / 'c')) == 6
    for key, value in plain.items():
        torch.testing.assert_close(cached[key], value, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize(
    'method, block',
    [
        ({'model.backbone.peft': dict(type='Frozen')}, None),
        ({'model.backbone.peft': dict(type='Frozen'), 'model.backbone.unfreeze': ['neck']}, 1),
        ({'model.backbone.peft': dict(type='LoRA', blocks=[1])}, 0),
        (mobile_sam(dict(type='Frozen')), None),
        (mobile_sam(dict(type='LoRA', blocks=[2, 3])), 1),
    ],
    ids=['decoder', 'neck', 'block', 'mobile, decoder', 'mobile, blocks'],
)
def test_training_is_that_of_the_plain_path(train, make_runner, root, method, block):
    """Bit for bit with the same rounding, and nearly without."""
    sgd = {
        **method,
        'optim_wrapper.optimizer': dict(type='SGD', lr=0.05, _delete_=True),
        'train_dataloader.batch_size': 1,
    }
    cached, plain = train({**sgd, **cache(root / 'c', views=1)}), train(sgd)
    twin = make_runner(deepcopy({**SHORT, **sgd, 'work_dir': str(root / 'twin')}))
    start = {key: value.clone() for key, value in twin.model.state_dict().items()}
    twin.register_hook(Rounding(block))
    twin.train()
    assert same(twin.model.state_dict(), cached)
    update, error = (
        torch.cat(
            [(plain[key] - other[key]).flatten() for key in plain if key.startswith('decode_head')]
        )
        for other in (start, cached)
    )
    assert 0 < error.norm() < 0.01 * update.norm()


def test_views_come_in_turn(train, root, monkeypatch):
    """The first epochs fill the cache, the later ones read it; with workers, that live on, as
    without; filling as reading."""
    written = []
    options = {
        **cache(root / 'c', views=2),
        'train_dataloader.dataset.pipeline': FLIP,
        'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=4, _delete_=True),
    }
    with monkeypatch.context() as patch:
        patch.setattr(
            FeatureCacheHook, 'after_train_epoch', lambda *_: written.append(len(items(root / 'c')))
        )
        filling = train(options)
    assert written == [6, 12, 12, 12]
    workers = {'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}
    assert same(filling, train({**options, **workers, **cache(root / 'other', views=2)}))
    assert same(filling, train({**options, **workers})) and items(root / 'c') == items(
        root / 'other'
    )


def test_damaged_and_missing_items_are_made_again(train, root):
    options = cache(root / 'c', views=1)
    expected, before = train(options), items(root / 'c')
    first, second, third, *_ = sorted(root.glob('c/*/??/*'))
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes(b'\0' * 3000)
    third.unlink()
    assert same(expected, train(options)) and items(root / 'c') == before


def test_no_more_than_max_gb(train, root):
    """What finds no place is computed each time, to the same effect."""
    expected = train(cache(root / 'whole', views=1))
    size = sum(map(len, items(root / 'whole').values()))
    assert same(expected, train(cache(root / 'half', views=1, max_gb=size / 2e9)))
    assert 1 <= len(items(root / 'half')) <= 3
    assert (
        sum(path.stat().st_size for path in (root / 'half').rglob('*') if path.is_file())
        <= size / 2
    )


def test_what_was_interrupted_goes_on(train, root, make_runner):
    """In the middle of the first epoch, from the start; and after it, from its checkpoint."""

    class Stop(Hook):
        def __init__(self, iteration):
            self.iteration = iteration

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == self.iteration:
                raise InterruptedError

    options = {
        **SHORT,
        **cache(root / 'c', views=2),
        'work_dir': str(root / 'stopped'),
        'train_dataloader.dataset.pipeline': FLIP,
    }
    for iteration in (1, 4):
        runner = make_runner(deepcopy(options))
        runner.register_hook(Stop(iteration))
        with pytest.raises(InterruptedError):
            runner.train()
        assert len(items(root / 'c')) == 2 * iteration
    resumed = make_runner({**options, 'resume': True})
    resumed.train()
    assert resumed.epoch == 2 and len(items(root / 'c')) == 12
    whole = train({**options, 'work_dir': str(root / 'whole'), **cache(root / 'other', views=2)})
    assert same(whole, resumed.model.state_dict())


def test_loops_by_iterations(train, root):
    """With a sampler without end; in bfloat16 the maps are others."""
    options = {
        'train_cfg': dict(type='IterBasedTrainLoop', max_iters=12, _delete_=True),
        'param_scheduler': None,
        'train_dataloader.sampler': dict(type='InfiniteSampler', shuffle=True),
        'default_hooks.checkpoint.by_epoch': False,
        **cache(root / 'c', views=2),
        'train_dataloader.dataset.pipeline': FLIP,
    }
    assert same(train(options), train(options)) and len(items(root / 'c')) == 12
    half = {**options, 'optim_wrapper.type': 'AutocastOptimWrapper'}
    assert same(train(half), train(half))
    assert len(items(root / 'c')) == 24 and len(list((root / 'c').iterdir())) == 2


def test_validation_is_that_of_the_plain_path(make_runner, root):
    options = {key: value for key, value in SHORT.items() if key not in NO_VALIDATION}
    runner = make_runner(deepcopy({**options, **cache(root / 'c')}))
    runner.train()
    last = runner.message_hub.get_scalar('val/Dice').data[0][-1]
    unsaved = {'default_hooks.checkpoint.save_best': None}
    plain = make_runner(
        deepcopy({**options, **unsaved, 'load_from': str(root / 'work' / 'epoch_2.pth')})
    )
    assert plain.val()['Dice'] == last and len(list((root / 'c').iterdir())) == 1
    assert type(runner.model.data_preprocessor).__name__ == 'SegDataPreProcessor', 'taken out again'
    assert runner.train_dataloader.dataset[0].keys() == {'inputs', 'data_samples'}
