"""The multi-task quickstart in small: fewer images, one epoch, otherwise as a newcomer runs it."""
import re
from pathlib import Path

from mmsam_peft.apis import read_header

CONFIG = Path(__file__).parents[2] / 'configs/talora/quickstart_multitask.py'
METRICS = ('seg/mIoU', 'depth/AErr', 'normals/mean')


def test_trains_and_tests(start, tmp_path):
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'param_scheduler.1.end=1']
    for part, count in dict(train=8, val=2, test=2).items():
        options += [f'{part}_dataloader.dataset.data_root={tmp_path / "data"}', f'{part}_dataloader.dataset.num_images={count}']
    log = start('train.py', CONFIG, '--work-dir', tmp_path / 'work', *options).stdout
    assert all(f'{name}.loss: ' in log for name in ('seg', 'depth', 'normals')) and 'loss_ortho: ' in log
    assert list(tmp_path.glob('work/*/vis_data/vis_image/val_0_*.png'))
    adapter = tmp_path / 'work/adapter_best.safetensors'
    header = read_header(adapter)
    assert header['peft']['type'] == 'TALoRA' and header['head']['channels'] == dict(seg=5, depth=1, normals=3)

    shown = ['--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'pictures']
    tested = start('test.py', CONFIG, adapter, *shown, *options).stdout
    assert all(re.search(rf'{metric}: [\d.]+', tested) for metric in METRICS)
    assert len(list(tmp_path.rglob('pictures/**/test_*.png'))) == 2
