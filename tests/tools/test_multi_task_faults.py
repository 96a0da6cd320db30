"""What is wrong with several tasks ends training before its first iteration, with one error that
says what to do."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import ARCH, ROOT

pytestmark = pytest.mark.slow

CONFIG = f"""
_base_ = '{ROOT / 'configs/talora/custom_multitask.py'}'
model = dict(checkpoint=None, data_preprocessor=dict(size=(64, 64), test_cfg=dict(size=(64, 64))),
             backbone=dict(
                 arch=dict({ARCH}, _delete_=True), img_size=64, peft=dict(ranks=(2, 2, 2))),
             decode_head=dict(in_channels=32, num_heads=2, mlp_dim=32))
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[4].size = test_pipeline[2].size = 64
train_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(data_root='DATA', pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root='DATA', pipeline=test_pipeline))
train_cfg = dict(max_epochs=1, val_interval=1)
param_scheduler = dict(type='ConstantLR', _delete_=True)
"""


def save(path: Path, label: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(label).save(path)


@pytest.fixture(scope='module')
def whole_data(tmp_path_factory) -> Path:
    """Images of 24 x 32 with classes 0 and 1, depth in millimetres and normals."""
    root, rng = tmp_path_factory.mktemp('tasks'), np.random.default_rng(0)
    for split, number in dict(train=4, val=2).items():
        for i in range(number):
            save(
                root / f'img_dir/{split}/{i}.png', rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            )
            save(root / f'seg_dir/{split}/{i}.png', rng.integers(0, 2, (24, 32), dtype=np.uint8))
            save(
                root / f'depth_dir/{split}/{i}.png',
                rng.integers(0, 9000, (24, 32)).astype(np.uint16),
            )
            save(
                root / f'normals_dir/{split}/{i}.png',
                np.broadcast_to(np.uint8([128, 128, 255]), (24, 32, 3)).copy(),
            )
    return root


@pytest.fixture
def data(whole_data, tmp_path) -> Path:
    return Path(shutil.copytree(whole_data, tmp_path / 'data'))


@pytest.fixture
def config(data, tmp_path) -> Path:
    path = tmp_path / 'tiny_multi_task.py'
    path.write_text(CONFIG.replace('DATA', str(data)))
    return path


def four_classes(data: Path) -> None:
    save(data / 'seg_dir/val/1.png', np.full((24, 32), 3, np.uint8))


def other_size(data: Path) -> None:
    save(data / 'depth_dir/train/2.png', np.ones((12, 16), np.uint16))


def without_depth(data: Path) -> None:
    shutil.rmtree(data / 'depth_dir/train')


def zero_depth(data: Path) -> None:
    for i in range(4):
        save(data / f'depth_dir/train/{i}.png', np.zeros((24, 32), np.uint16))


def nothing(data: Path) -> None:
    pass


FAULTS = [
    (zero_depth, [], r'tasks without one valid pixel in all their labels: 1\n +got +depth'),
    (
        four_classes,
        [],
        r"seg_dir/val/1.png: .*'seg': the label has values \[3\], expected 0 to 1, and 255 "
        r'.*num_classes',
    ),
    (
        nothing,
        ['model.tasks.0.num_classes=3', 'val_evaluator.tasks.0.num_classes=3'],
        r"'seg' of 2 channels in the data set, .*'seg' of 3 in the model",
    ),
    (
        nothing,
        ["val_evaluator.tasks.1.name='disparity'"],
        "metric is asked for Depth 'disparity', which the model does not",
    ),
    (
        nothing,
        ['val_evaluator.tasks.0.num_classes=4'],
        "'seg' of 4 channels, the model predicts .*'seg' of 2",
    ),
    (
        nothing,
        ['default_hooks.checkpoint.save_best=saliency/maxF'],
        "save_best='saliency/maxF', but validation gives only",
    ),
    (
        nothing,
        ['default_hooks.checkpoint.save_best=depth/AErr'],
        "rule='greater' for save_best='depth/AErr', of which lower",
    ),
]


@pytest.mark.parametrize(
    'ruin, options, message', FAULTS, ids=[str(number) for number in range(len(FAULTS))]
)
def test_training_does_not_begin(call, config, data, tmp_path, ruin, options, message):
    ruin(data)
    options = [f'experiment_name={tmp_path.name}', *options]
    with pytest.raises(ValueError, match=message):
        call('train.py', config, '--work-dir', tmp_path / 'work', '--cfg-options', *options)
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.parametrize(
    'ruin, message',
    [(without_depth, "no labels of Depth 'depth'"), (other_size, '16 x 12, its image 32 x 24')],
)
def test_a_newcomers_run(start, config, data, tmp_path, ruin, message):
    """The process fails, and its last lines are the report."""
    ruin(data)
    done = start('train.py', config, '--work-dir', tmp_path / 'work', check=False)
    assert done.returncode and message in done.stderr[-1500:] and 'loss: ' not in done.stdout


def test_a_whole_data_set_trains(call, config, data, tmp_path):
    """Of validation only what the metric measures has to have labels."""
    shutil.rmtree(data / 'normals_dir/val')
    config.write_text(
        f"{config.read_text()}\nval_dataloader['dataset']['tasks'] = _base_.tasks[:2]\n"
        'val_evaluator = dict(tasks=_base_.tasks[:2])\n'
    )
    call(
        'train.py',
        config,
        '--work-dir',
        tmp_path / 'work',
        '--cfg-options',
        f'experiment_name={tmp_path.name}',
    )
    assert (tmp_path / 'work/epoch_1.pth').is_file()
