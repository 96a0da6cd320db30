import json
import math
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from mmsam_peft.datasets import DatasetError


def scalars(run: Path) -> list[dict]:
    """What a run logged, line by line."""
    return [json.loads(line) for line in (run / 'vis_data/scalars.json').read_text().splitlines()]


def runs(work_dir: Path) -> list[Path]:
    return sorted(path.parent for path in work_dir.glob('*/vis_data'))


def weights(work_dir: Path) -> list[Path]:
    return [
        *work_dir.rglob('*.pth'),
        *work_dir.rglob('*.safetensors'),
        *work_dir.rglob('last_checkpoint'),
    ]


def test_writes_checkpoints_adapters_pictures_and_logs(trained):
    assert {'epoch_2.pth', 'last_checkpoint', 'tiny.py'} < {path.name for path in trained.iterdir()}
    assert len(list(trained.glob('best_Dice_epoch_*.pth'))) == 1
    for name in ('adapter_last.safetensors', 'adapter_best.safetensors'):
        with safe_open(trained / name, 'pt') as file:
            numbers = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
        assert 0 < (trained / name).stat().st_size - 4 * numbers < 65536
    first, second = runs(trained)
    assert {path.name.rsplit('_', 1)[0] for path in second.glob('vis_data/vis_image/*.png')} == {
        'val_0',
        'val_1',
    }
    picture = Image.open(next(second.glob('vis_data/vis_image/*.png')))
    assert picture.size[0] >= 3 * 150  # image, truth and prediction in a row
    report = (trained / 'report.html').read_text()
    assert '2 validation images' in report and 'ConvLoRA' in report
    assert 'Dice: ' in next(second.glob('*.log')).read_text()
    assert not list(first.rglob('events.out.tfevents*')) and list(
        second.rglob('events.out.tfevents*')
    )


def test_resumes_where_a_kill_stopped_it(trained):
    first, second = (
        [(line['epoch'], line['lr']) for line in scalars(run) if 'loss' in line]
        for run in runs(trained)
    )
    assert [epoch for epoch, _ in first] == [1, 2]
    assert second == first[1:] and first[0][1] != first[1][1]
    assert 'goes on    after iteration 4\n' in (trained / 'resumed.log').read_text()


def test_logs_the_balance_loss_in_the_total(trained):
    line = scalars(runs(trained)[0])[0]
    assert 0 < line['loss_balance'] < 0.2
    assert line['loss'] == pytest.approx(
        line['loss_balance'] + line['decode.loss_structure'], rel=1e-4
    )


def test_checkpoints_are_plain(trained):
    for path in trained.glob('*.pth'):
        assert 'state_dict' in torch.load(path, weights_only=True)


@pytest.mark.slow
def test_mixed_precision_and_options(start, trained, config, tmp_path):
    start(
        'train.py',
        config,
        '--work-dir',
        tmp_path,
        '--amp',
        '--cfg-options',
        'train_cfg.max_epochs=1',
    )
    (run,) = runs(tmp_path)
    full, mixed = scalars(runs(trained)[0])[0]['loss'], scalars(run)[0]['loss']
    assert mixed != full and mixed == pytest.approx(full, rel=0.05)
    assert "type='AutocastOptimWrapper'" in (tmp_path / 'tiny.py').read_text()
    assert (tmp_path / 'epoch_1.pth').exists() and not (tmp_path / 'epoch_2.pth').exists()


def test_error_ends_what_is_printed(start, config, tmp_path):
    options = ['--work-dir', tmp_path, '--cfg-options', 'model.checkpoint=sam_vit_b_01ec64.pth']
    done = start('train.py', config, *options, check=False)
    assert done.returncode == 1
    assert re.match(
        'FileNotFoundError: There is no checkpoint sam_vit_b_01ec64.pth. .*https://',
        done.stderr.splitlines()[-1],
    )
    assert not weights(tmp_path)


THREE_CLASSES = dict(classes="('a','b','c')", palette='[[0,0,0],[1,1,1],[2,2,2]]')


@pytest.mark.parametrize(
    'options, error, message',
    [
        (
            ['val_dataloader.dataset.data_prefix.img_path=none'],
            DatasetError,
            'the data set has no images',
        ),
        (
            [
                f'train_dataloader.dataset.metainfo.{key}={value}'
                for key, value in THREE_CLASSES.items()
            ]
            + ['train_dataloader.dataset.mask_values=index'],
            DatasetError,
            r'3 in the data set \(a, b, c\), 2 in the model',
        ),
        (
            ['train_dataloader.dataset.mask_values=index'],
            DatasetError,
            'only one class is seen, or none',
        ),
        (
            ['model.backbone.peft.type=ConvLora'],
            ValueError,
            "peft type='ConvLora' is unknown: use one of .*ConvLoRA",
        ),
        (
            ['model.backbone.peft.targets=[query]'],
            ValueError,
            "target 'query' matches no linear layer",
        ),
        (
            ['model.backbone.arch=large'],
            ValueError,
            'an encoder of width 32 and depth 2; the model has width 1024 and depth 24',
        ),
    ],
)
def test_stops_before_training(call, config, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        call('train.py', config, '--work-dir', tmp_path, '--cfg-options', *options)
    assert not weights(tmp_path)


def test_absent_config(call, capsys):
    with pytest.raises(SystemExit):
        call('train.py', 'nothing.py')
    text = 'no config nothing.py; those of the zoo are configs/METHOD/DATA.py'
    assert text in capsys.readouterr().err


def test_one_task_of_a_config_that_has_others(call, tmp_path):
    config = Path(__file__).parents[2] / 'configs/talora/quickstart_multitask.py'
    with pytest.raises(
        ValueError,
        match="'dept' is asked for alone, but the config has the tasks seg, depth, normals",
    ):
        call('train.py', config, '--task', 'dept', '--work-dir', tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_float16_needs_a_gpu(call, config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='float16 training needs a GPU; on a CPU use --amp bf16'):
        call('train.py', config, '--work-dir', tmp_path / 'run', '--amp', 'fp16')
    assert not (tmp_path / 'run').exists()
