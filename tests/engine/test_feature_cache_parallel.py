"""One cache for two processes."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from two_processes import run_in_two_processes

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[1] / 'data' / 'tiny.py'


def options(folder: Path) -> dict:
    """Two epochs without validation, on stored maps."""
    return {
        'val_cfg': None,
        'val_dataloader': None,
        'val_evaluator': None,
        'default_hooks.checkpoint.save_best': None,
        'train_cfg': dict(type='EpochBasedTrainLoop', max_epochs=2, _delete_=True),
        'custom_hooks': [],
        'model.backbone.peft': dict(type='Frozen'),
        'default_hooks.feature_cache': dict(type='FeatureCacheHook', views=1, folder=str(folder)),
    }


def worker(rank: int, root: Path) -> None:
    os.environ.update(TINY_ROOT=str(root), RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank))
    config = Config.fromfile(TINY)
    config.merge_from_dict(
        {
            **options(root / 'c'),
            'launcher': 'pytorch',
            'work_dir': str(root / 'two'),
            'train_dataloader.batch_size': 1,
            'model_wrapper_cfg': dict(
                type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
            ),
        }
    )
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        runner = Runner.from_cfg(config)
        runner.train()
    torch.save(runner.model.module.state_dict(), root / f'{rank}.pth')


def items(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob('*/??/*')}


def test_two_processes_share_a_cache(make_runner, root):
    """And come to what one process does with both batches."""
    run_in_two_processes(__file__, root)
    first, second = (torch.load(root / f'{rank}.pth') for rank in (0, 1))
    assert (
        all(value.equal(second[key]) for key, value in first.items())
        and len(items(root / 'c')) == 6
    )
    one = make_runner(options(root / 'own'))
    one.train()
    for key, value in one.model.state_dict().items():
        torch.testing.assert_close(first[key], value, rtol=1e-3, atol=1e-4)
    assert items(root / 'own') == items(root / 'c')
