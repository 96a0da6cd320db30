"""Whole trainings that meet NaN."""

import copy
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from PIL import Image
from safetensors.torch import load_file

from mmsam_peft.apis.launch import build_runner
from mmsam_peft.finite import NotFiniteError

TINY = Path(__file__).parents[1] / 'data' / 'tiny.py'
CNN = dict(
    type='EncoderDecoder',
    test_cfg=dict(mode='whole'),
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[128] * 3, std=[64] * 3, size=(64, 64)),
    backbone=dict(
        type='mmseg.ResNetV1c', depth=18, stem_channels=8, base_channels=8, norm_cfg=dict(type='BN')
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=64,
        channels=8,
        num_convs=1,
        num_classes=2,
        norm_cfg=dict(type='BN'),
    ),
)
"""A model of MMSegmentation's own, with statistics of batches."""
WITHOUT_VALIDATION = {'train_cfg.val_interval': 9}
MODELS = dict(ours={}, MMSegmentation={'model': dict(CNN, _delete_=True)})


class BrokenImages(Hook):
    """Puts a NaN into an image, at the iterations told."""

    def __init__(self, *iterations: int) -> None:
        self.iterations, self.images = iterations, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter in self.iterations:
            data_batch['inputs'][0] = data_batch['inputs'][0].float()
            data_batch['inputs'][0][0, 0, 0] = torch.nan
            self.images.append(Path(data_batch['data_samples'][0].img_path).name)


class Break(Hook):
    """Makes a value of what ``find`` gives infinite, after the last iteration of the second
    epoch."""

    priority = 'VERY_HIGH'

    def __init__(self, find) -> None:
        self.find = find

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 5:
            self.find(runner).data.view(-1)[0] = torch.inf


def log(work: Path) -> str:
    return ''.join(path.read_text() for path in work.glob('*/*.log'))


def assert_files_finite(work: Path) -> None:
    checkpoints = [torch.load(path, weights_only=True)['state_dict'] for path in work.glob('*.pth')]
    states = checkpoints + [load_file(path) for path in work.glob('*.safetensors')]
    assert states
    for state in states:
        assert all(value.isfinite().all() for value in state.values())


@pytest.mark.parametrize('model', MODELS)
def test_a_broken_image_costs_a_step(make_runner, root, model):
    """And is named, with the losses; learning goes on. Every other one makes no five in a row."""
    runner, images = (
        make_runner(copy.deepcopy(MODELS[model]) | WITHOUT_VALIDATION),
        BrokenImages(*range(1, 11, 2)),
    )
    runner.register_hook(images)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    assert_files_finite(root / 'work')
    text = log(root / 'work')
    assert text.count('Weights and optimizer are as before') == 5 == len(images.images)
    for iteration, image in zip((2, 4, 6, 8, 10), images.images, strict=True):
        line = next(line for line in text.splitlines() if f'Iteration {iteration}: ' in line)
        assert (
            'this step was left out, 1 in a row' in line
            and image in line
            and 'decode.loss_' in line
            and ' = nan' in line
        )
        assert line.count('.png') == 2, 'the images of the batch, and no other'
    assert any(not value.equal(before[key]) for key, value in runner.model.state_dict().items())
    steps = {int(state['step']) for state in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {4 * 3 - 5}


def test_five_in_a_row_stop_training(make_runner, root):
    runner = make_runner(WITHOUT_VALIDATION)
    runner.register_hook(BrokenImages(*range(4, 100)))
    with pytest.raises(
        NotFiniteError,
        match=r'stops at iteration 9: in 5 steps in a row.* = nan.*train/\d.png.*learning rate',
    ):
        runner.train()
    assert {path.name for path in (root / 'work').glob('epoch*.pth')} == {
        'epoch_1.pth',
        'epoch_2.pth',
    }
    assert_files_finite(root / 'work')


@pytest.mark.parametrize('optimizer', [dict(type='AdamW', lr=1e6), dict(type='SGD', lr=1e36)])
def test_a_learning_rate_far_too_high(make_runner, root, optimizer):
    """Whatever becomes of it, no file has a number that is none."""
    runner = make_runner(
        {
            'optim_wrapper.optimizer': dict(_delete_=True, **optimizer),
            'train_cfg.max_epochs': 3,
            'default_hooks.checkpoint.max_keep_ckpts': 1,
        }
    )
    with pytest.raises(NotFiniteError, match=r'optim_wrapper\.optimizer\.lr'):
        runner.train()
    assert_files_finite(root / 'work')


PLACES = dict(
    weight=lambda runner: next(value for value in runner.model.parameters() if value.requires_grad),
    buffer=lambda runner: runner.model.decode_head.pe_layer.positional_encoding_gaussian_matrix,
    optimizer=lambda runner: next(iter(runner.optim_wrapper.optimizer.state.values()))[
        'exp_avg_sq'
    ],
)


@pytest.mark.parametrize(
    'place, by_epoch', [('weight', True), ('buffer', True), ('optimizer', False)]
)
def test_a_broken_model_replaces_no_checkpoint(make_runner, root, place, by_epoch):
    """Though only one is kept, which MMEngine removes before it writes the next."""
    checkpoint = dict(max_keep_ckpts=1, interval=1 if by_epoch else 3, by_epoch=by_epoch)
    runner = make_runner({'default_hooks.checkpoint': checkpoint, **WITHOUT_VALIDATION})
    runner.register_hook(Break(PLACES[place]))
    with pytest.raises(
        NotFiniteError,
        match='After iteration 6, numbers of the model or the optimizer .*learning rate',
    ):
        runner.train()
    assert [path.name for path in (root / 'work').glob('*.pth')] == [
        'epoch_1.pth' if by_epoch else 'iter_3.pth'
    ]
    assert_files_finite(root / 'work')


def test_what_other_hooks_make_of_the_model_is_not_saved_either(make_runner, root):
    class Ruin(Hook):
        priority = 'NORMAL'

        def before_save_checkpoint(self, runner, checkpoint):
            key = next(key for key in checkpoint['state_dict'] if 'lora' in key)
            checkpoint['state_dict'][key] = checkpoint['state_dict'][key] * torch.nan

    runner = make_runner()
    runner.register_hook(Ruin())
    with pytest.raises(
        NotFiniteError, match='The checkpoint that was to be saved .*lora_.*: .* of .* numbers'
    ):
        runner.train()
    assert not list((root / 'work').glob('*.pth'))


class RuinBeforeValidation(Hook):
    def before_val_epoch(self, runner):
        self._ruin(runner)

    def before_test_epoch(self, runner):
        self._ruin(runner)

    def _ruin(self, runner):
        for parameter in runner.model.decode_head.parameters():
            parameter.data.fill_(torch.nan)


@pytest.mark.parametrize(
    'way, model, metric, name',
    [
        ('train', 'ours', dict(type='BinaryMetric'), 'Dice'),
        ('test', 'ours', dict(type='mmseg.IoUMetric', iou_metrics=['mIoU']), 'mIoU'),
        ('train', 'MMSegmentation', dict(type='mmseg.IoUMetric', iou_metrics=['mIoU']), 'mIoU'),
        ('test', 'MMSegmentation', dict(type='BinaryMetric'), 'Dice'),
    ],
)
def test_a_broken_model_has_no_score(make_runner, root, way, model, metric, name):
    """Not even where there is nothing to find, and finding nothing is right."""
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(root / 'ann_dir' / 'val' / '0.png')
    evaluators = {f'{part}_evaluator': dict(metric, _delete_=True) for part in ('val', 'test')}
    runner = make_runner(
        {**copy.deepcopy(MODELS[model]), **evaluators, 'default_hooks.checkpoint.save_best': name}
    )
    runner.register_hook(RuinBeforeValidation())
    with pytest.raises(
        NotFiniteError, match=r'val/0.png: the model gives .*logits that are NaN or infinite'
    ):
        getattr(runner, way)()
    assert not list((root / 'work').glob('*best*'))


def test_a_metric_that_is_nan_is_never_the_best(make_runner, root):
    class Script(Hook):
        def before_train(self, runner):
            scores = iter([float('nan'), 2.0, float('nan'), 1.0])
            runner.val_loop.evaluator.evaluate = lambda size: dict(Dice=next(scores))

    runner = make_runner()
    runner.register_hook(Script())
    runner.train()
    assert [path.name for path in (root / 'work').glob('best*')] == ['best_Dice_epoch_2.pth']
    assert log(root / 'work').count(', which cannot be the best') == 2


def train_one_of_two(rank: int, port: int) -> None:
    """From the second epoch on, the second process has a broken image in each batch."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        GLOO_SOCKET_IFNAME='lo',
    )
    config = Config.fromfile(TINY)
    config.launcher = 'pytorch'
    runner = build_runner(config)
    runner.register_hook(BrokenImages(*range(2, 100) if rank else ()))
    with pytest.raises(NotFiniteError) as stopped:
        runner.train()
    torch.save(
        (str(stopped.value), runner.model.module.state_dict()),
        f'{config.work_dir}/of_process_{rank}',
    )
    torch.distributed.destroy_process_group()


def test_two_processes_stop_together(root, scope):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(train_one_of_two, (port,), nprocs=2, start_method='fork')
    (message, first), (other, second) = (
        torch.load(root / 'work' / f'of_process_{rank}') for rank in (0, 1)
    )
    assert message == other
    assert 'stops at iteration 7' in message and ' = nan' in message and '.png' in message
    saved = torch.load(root / 'work' / 'epoch_1.pth', weights_only=True)['state_dict']
    for key, value in saved.items():
        assert value.equal(first[key]) and value.equal(second[key]), key
