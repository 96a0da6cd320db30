import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from PIL import Image
from safetensors.torch import load_file

from mmsam_peft.adapters.file import read_header
from mmsam_peft.adapters.match import load_adapter
from mmsam_peft.datasets.checks.dataset import DatasetError
from mmsam_peft.engine.hooks.plain_checkpoint_hook import PlainCheckpointHook, plain

TINY = Path(__file__).parents[1] / 'data' / 'tiny.py'


class StopBeforeEpoch(Hook):
    """Ends training as a crash would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def before_train_epoch(self, runner) -> None:
        if runner.epoch == self.epoch:
            raise InterruptedError


@pytest.mark.parametrize('method', ['LoRA', 'ConvLoRA'])
def test_adapters_are_the_checkpoints_weights(make_runner, root, method):
    runner = make_runner(
        {'model.backbone.peft.type': method, 'train_cfg.max_epochs': 3, 'train_cfg.val_interval': 1}
    )
    runner.train()
    best = next((root / 'work').glob('best_Dice_epoch_*.pth'))
    for name, checkpoint in (('last', root / 'work' / 'epoch_3.pth'), ('best', best)):
        adapter, state = (
            load_file(root / 'work' / f'adapter_{name}.safetensors'),
            torch.load(checkpoint)['state_dict'],
        )
        assert any('lora_B' in key for key in adapter)
        assert all(value.equal(state[key]) for key, value in adapter.items())
    header = read_header(root / 'work' / 'adapter_best.safetensors')
    assert (header['peft']['type'], header['classes']) == (method, ['background', 'disc'])
    fresh = make_runner({'model.backbone.peft.type': method}).model
    load_adapter(fresh, root / 'work' / 'adapter_last.safetensors')
    trained = runner.model.state_dict()
    assert all(value.equal(trained[key]) for key, value in fresh.state_dict().items())


def test_only_a_better_epoch_rewrites_the_best_adapter(make_runner, root):
    runner, contents = make_runner(), []

    class Script(Hook):
        """Scores every validation as told, and keeps what the best adapter holds after it."""

        def before_train(self, runner):
            scores = iter([2.0, 3.0, 1.0, 4.0])
            runner.val_loop.evaluator.evaluate = lambda size: dict(Dice=next(scores))

        def after_val_epoch(self, runner, metrics=None):
            contents.append((root / 'work' / 'adapter_best.safetensors').read_bytes())

    runner.register_hook(Script(), 'LOWEST')
    runner.train()
    assert [after != before for before, after in zip(contents, contents[1:], strict=False)] == [
        True,
        False,
        True,
    ]


def test_checkpoints_hold_no_objects_and_resume_where_they_stopped(make_runner, root, monkeypatch):
    whole = make_runner({'work_dir': str(root / 'whole')})
    whole.train()
    stopped = make_runner()
    stopped.register_hook(StopBeforeEpoch(2))
    with pytest.raises(InterruptedError):
        stopped.train()
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    torch.serialization.clear_safe_globals()
    checkpoint = torch.load(root / 'work' / 'epoch_2.pth', weights_only=True)
    assert isinstance(checkpoint['message_hub']['log_scalars']['train/loss'], dict)

    resumed = make_runner({'resume': True})
    resumed.train()
    assert resumed.epoch == 4
    expected = whole.model.state_dict()
    assert all(value.equal(expected[key]) for key, value in resumed.model.state_dict().items())
    history, counts = resumed.message_hub.get_scalar('train/loss').data
    assert (
        isinstance(resumed.message_hub.get_scalar('train/loss'), HistoryBuffer)
        and len(history) == 4 * 3
    )
    np.testing.assert_array_equal(history, whole.message_hub.get_scalar('train/loss').data[0])
    np.testing.assert_array_equal(counts, np.ones(12))
    for name in ('adapter_last', 'adapter_best'):
        first, second = (
            load_file(root / folder / f'{name}.safetensors') for folder in ('whole', 'work')
        )
        assert first.keys() == second.keys() and all(
            value.equal(second[key]) for key, value in first.items()
        )


def test_several_best_metrics_have_an_adapter_each(make_runner, root):
    make_runner(
        {'default_hooks.checkpoint.save_best': ['Dice', 'IoU'], 'train_cfg.max_epochs': 1}
    ).train()
    adapters = {path.stem for path in (root / 'work').glob('adapter_*')}
    assert adapters == {'adapter_last', 'adapter_best_Dice', 'adapter_best_IoU'}


def test_a_checkpoint_cannot_run_code_as_a_config(make_runner, root):
    """MMEngine executes ``meta['config']`` as a Python config when it resumes."""
    make_runner({'train_cfg.max_epochs': 1}).train()
    path = root / 'work' / 'epoch_1.pth'
    checkpoint = torch.load(path)
    checkpoint['meta']['config'] = f'import pathlib\npathlib.Path({str(root / "ran")!r}).touch()'
    torch.save(checkpoint, path)
    make_runner({'resume': True, 'load_from': str(path), 'train_cfg.max_epochs': 2}).train()
    assert not (root / 'ran').exists()


def test_plain_values():
    buffer = HistoryBuffer([1.0, 2.0], [1, 1], 10)
    mixed = dict(
        buffer=buffer,
        numbers=(np.float64(0.5), np.arange(2)),
        nested=[dict(a=None)],
        tensor=torch.ones(2),
        text='x',
    )
    file = io.BytesIO()
    torch.save(plain(mixed), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert (
        loaded['numbers'] == (0.5, [0, 1])
        and loaded['nested'] == [dict(a=None)]
        and loaded['text'] == 'x'
    )
    assert type(loaded['numbers'][0]) is float
    checkpoint = dict(message_hub=dict(log_scalars=dict(loss=loaded['buffer'])))
    PlainCheckpointHook().after_load_checkpoint(None, checkpoint)
    restored = checkpoint['message_hub']['log_scalars']['loss']
    assert [values.tolist() for values in restored.data] == [
        [1.0, 2.0],
        [1, 1],
    ] and restored.max_length == 10
    assert restored.mean() == 1.5


def ruin_value(path):
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(path)


def ruin_size(path):
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(path)


@pytest.mark.parametrize(
    ('split', 'ruin', 'message'),
    [
        ('train', ruin_value, r'0.png: 7 \(4096 pixels\)'),
        ('val', ruin_value, r'0.png: 7 \(4096 pixels\)'),
        ('train', ruin_size, '0.png: 64 x 32, its image 64 x 64'),
        ('train', lambda path: path.unlink(), 'images without a mask: 1'),
    ],
)
def test_bad_data_ends_training_before_it_begins(make_runner, root, split, ruin, message):
    ruin(root / 'ann_dir' / split / '0.png')
    runner = make_runner()
    weights = {key: value.clone() for key, value in runner.model.state_dict().items()}
    with pytest.raises(DatasetError, match=message):
        runner.train()
    assert runner.iter == 0 and all(
        value.equal(weights[key]) for key, value in runner.model.state_dict().items()
    )
    assert not list((root / 'work').glob('*.pth')) and not list(
        (root / 'work').glob('*.safetensors')
    )


def test_class_count_of_the_model_is_checked(make_runner):
    head = dict(num_classes=3, num_queries=4, loss_decode=dict(type='SetPredictionLoss'))
    options = {f'model.decode_head.{key}': value for key, value in head.items()}
    runner = make_runner(options | {'val_evaluator.foreground': 1})
    with pytest.raises(
        DatasetError, match=r'2 in the data set \(background, disc\), 3 in the model'
    ):
        runner.train()


def test_a_test_set_without_labels(make_runner, root):
    """One part of it is enough; tools/predict.py is for such images."""
    part = Config.fromfile(TINY).test_dataloader.dataset
    bare = {**part, 'data_prefix': dict(img_path='img_dir/train')}
    runner = make_runner(
        {
            'test_dataloader.dataset': dict(
                _delete_=True, type='ConcatDataset', datasets=[part, bare]
            )
        }
    )
    with pytest.raises(
        DatasetError,
        match=r'(?s)no labels: FolderDataset, 6 images of .*seg_map_path.*tools/predict.py',
    ):
        runner.test()
    runner = make_runner({'test_dataloader.dataset.data_prefix.seg_map_path': 'nowhere'})
    with pytest.raises(
        DatasetError, match='(?s)no masks.*for images without masks: tools/predict.py'
    ):
        runner.test()


def test_masks_of_joined_sets(make_runner, root):
    """Images of one name in two folders, and two suffixes in one folder, are different files."""
    shutil.copy(root / 'img_dir/val/0.png', root / 'img_dir/val/0.bmp')
    (root / 'bitmaps.txt').write_text('0')
    dataset = Config.fromfile(TINY).test_dataloader.dataset
    parts = [
        {
            **dataset,
            'data_prefix': {
                key: f'{folder}/{split}'
                for key, folder in (('img_path', 'img_dir'), ('seg_map_path', 'ann_dir'))
            },
            **more,
        }
        for split, more in (
            ('train', {}),
            ('val', dict(img_suffix='.png')),
            ('val', dict(img_suffix='.bmp', ann_file='bitmaps.txt')),
        )
    ]
    runner = make_runner(
        {'test_dataloader.dataset': dict(_delete_=True, type='ConcatDataset', datasets=parts)}
    )
    runner.register_hook(dict(type='SaveMasksHook', out_dir=str(root / 'masks')))
    runner.test()
    names = {path.relative_to(root / 'masks').as_posix() for path in (root / 'masks').rglob('*.*')}
    assert names == {
        *(f'train/{i}.png' for i in range(6)),
        'val/0.png.png',
        'val/0.bmp.png',
        'val/1.png',
    }


def test_masks_of_a_test_run(make_runner, root):
    """Sub-folders are kept, for two images may have one name; testing takes an adapter."""
    make_runner({'train_cfg.max_epochs': 1}).train()
    for kind in ('img_dir', 'ann_dir'):
        (root / kind / 'val' / 'sub').mkdir()
        (root / kind / 'val' / '1.png').rename(root / kind / 'val' / 'sub' / '0.png')
    runner = make_runner({'load_from': str(root / 'work' / 'adapter_last.safetensors')})
    runner.register_hook(dict(type='SaveMasksHook', out_dir=str(root / 'masks')))
    metrics = runner.test()
    dice = []
    for path in (root / 'masks').rglob('*.png'):
        with Image.open(path) as mask:
            assert mask.getpalette()[:6] == [0, 0, 0, 0, 255, 0]
            predicted = np.asarray(mask)
        label = np.asarray(Image.open(root / 'ann_dir' / 'val' / path.relative_to(root / 'masks')))
        dice.append(200 * (predicted & label).sum() / (predicted.sum() + label.sum()))
    assert len(dice) == 2 and max(dice) > 0
    assert metrics['Dice'] == pytest.approx(np.mean(dice), abs=0.01)
