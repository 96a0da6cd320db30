"""The multi-task quickstart in small: fewer images, one epoch, otherwise as a newcomer runs it."""

import re
from pathlib import Path

import numpy as np
import pytest

from mmsam_peft.apis import read_header

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / 'configs/talora/quickstart_multitask.py'
METRICS = ('seg/mIoU', 'depth/AErr', 'normals/mean')


def test_trains_and_tests(start, tmp_path):
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'param_scheduler.1.end=1']
    for part, count in dict(train=8, val=2, test=2).items():
        options += [
            f'{part}_dataloader.dataset.data_root={tmp_path / "data"}',
            f'{part}_dataloader.dataset.num_images={count}',
        ]
    start('train.py', CONFIG, '--work-dir', tmp_path / 'work', *options)
    log = next(tmp_path.glob('work/*/*.log')).read_text()
    assert (
        all(f'{name}.loss: ' in log for name in ('seg', 'depth', 'normals'))
        and 'loss_ortho: ' in log
    )
    assert list(tmp_path.glob('work/*/vis_data/vis_image/val_0_*.png'))
    adapter = tmp_path / 'work/adapter_best.safetensors'
    header = read_header(adapter)
    assert header['peft']['type'] == 'TALoRA' and header['head']['channels'] == dict(
        seg=5, depth=1, normals=3
    )

    shown = ['--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'pictures']
    tested = start('test.py', CONFIG, adapter, *shown, *options).stdout
    assert all(re.search(rf'{metric}: [\d.]+', tested) for metric in METRICS)
    assert len(list(tmp_path.rglob('pictures/**/test_*.png'))) == 2

    start(
        'predict.py', CONFIG, adapter, tmp_path / 'data/img_dir/test', '--out-dir', tmp_path / 'out'
    )
    names = {path.stem for path in (tmp_path / 'data/img_dir/test').iterdir()}
    for folder, suffix in {
        'seg': '.png',
        'depth': '.npy',
        'normals': '.npy',
        'panels': '.png',
    }.items():
        assert {path.stem for path in (tmp_path / 'out' / folder).glob(f'*{suffix}')} == names
    assert np.load(next((tmp_path / 'out/normals').iterdir())).shape == (3, 128, 128)

    one = ['--merge', '--task', 'normals', '--amp', '--out-dir', tmp_path / 'normals']
    start('predict.py', CONFIG, adapter, tmp_path / 'data/img_dir/test', *one)
    assert {path.name for path in (tmp_path / 'normals').iterdir()} == {
        'normals',
        'panels',
        'predictions.jsonl',
    }
    for name in names:
        ours, its = (np.load(tmp_path / out / f'normals/{name}.npy') for out in ('normals', 'out'))
        assert (ours * its).sum(0).mean() > 0.99, 'the cosine of the angle between them'

    merged = start(
        'merge_adapter.py', CONFIG, adapter, tmp_path / 'depth.pth', '--task', 'depth'
    ).stdout
    assert 'relative difference to the adapted model' in merged
    failed = start('merge_adapter.py', CONFIG, adapter, tmp_path / 'none.pth', check=False)
    assert (
        'use one of seg, depth, normals' in failed.stderr and not (tmp_path / 'none.pth').exists()
    )
