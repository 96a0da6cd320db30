"""A training that ended in any way goes on as if it had not."""

import os
import re
import shutil
import signal
from copy import deepcopy

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import ValLoop
from safetensors.torch import load_file

from mmsam_peft.engine.hooks import adapter_hook
from mmsam_peft.engine.hooks.stop_hook import StopHook
from mmsam_peft.engine.stop_signals import StopSignals
from mmsam_peft.whole_files import WholeFileBackend

from .conftest import TINY

SHORT = {'train_cfg.max_epochs': 2, 'param_scheduler.end': 2}


def flips() -> list[dict]:
    pipeline = Config.fromfile(TINY).train_pipeline
    pipeline.insert(3, dict(type='RandomFlip', prob=0.5))
    return pipeline


class Kill(Hook):
    """Ends training before iteration ``at``, as a crash would."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            raise InterruptedError


class Signal(Kill):
    """Has the process get SIGTERM in iteration ``at``."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


def same(one, other) -> bool:
    one, other = one.model.state_dict(), other.model.state_dict()
    return one.keys() == other.keys() and all(value.equal(other[key]) for key, value in one.items())


ENDLESS = {
    'train_cfg': dict(type='IterBasedTrainLoop', max_iters=6, val_interval=4, _delete_=True),
    'train_dataloader.sampler.type': 'InfiniteSampler',
    'param_scheduler.by_epoch': False,
    'param_scheduler.convert_to_iter_based': False,
    'param_scheduler.end': 6,
    'default_hooks.checkpoint.by_epoch': False,
    'default_hooks.checkpoint.interval': 4,
}
WORKERS = {'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}


ENDINGS = [
    (
        {**SHORT, 'model.backbone.peft.type': 'ConvLoRA', 'default_hooks.checkpoint.interval': 9},
        Signal(1),
        'interrupted.pth',
    ),
    # the last iteration of its epoch
    ({**SHORT, 'default_hooks.checkpoint.interval': 9}, Signal(2), 'interrupted.pth'),
    ({**SHORT, **WORKERS, 'optim_wrapper.accumulative_counts': 2}, Kill(4), 'epoch_1.pth'),
    ({**ENDLESS, 'optim_wrapper.accumulative_counts': 2}, Signal(0), 'interrupted.pth'),
    (ENDLESS, Kill(5), 'iter_4.pth'),
]


@pytest.mark.parametrize(
    ('options', 'end', 'left'),
    [ENDINGS[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in ENDINGS[1:])],
)
def test_goes_on_bit_by_bit(make_runner, root, options, end, left):
    """Noise, random flips, workers, gradients of several iterations; ended in the middle of an
    epoch, after its last iteration or after it."""
    options = {**options, 'train_dataloader.dataset.pipeline': flips()}
    whole = make_runner(
        deepcopy({**options, 'work_dir': str(root / 'whole')})
    )  # Config changes what it merges
    whole.train()
    ended = make_runner(deepcopy(options))
    ended.register_hook(end)
    with pytest.raises((InterruptedError, SystemExit)) as error, StopSignals() as signals:
        ended.register_hook(StopHook(signals))
        ended.train()
    assert error.type is InterruptedError or error.value.code == 128 + signal.SIGTERM
    assert (root / 'work/last_checkpoint').read_text() == left
    adapter, state = (
        load_file(root / 'work/adapter_last.safetensors'),
        torch.load(root / 'work' / left)['state_dict'],
    )
    assert all(value.equal(state[key]) for key, value in adapter.items())
    resumed = make_runner(
        deepcopy(
            {
                **options,
                'resume': True,
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False,
            }
        )
    )
    resumed.train()
    assert (
        resumed.iter == whole.iter
        and same(whole, resumed)
        and not (root / 'work/interrupted.pth').exists()
    )
    histories = [
        one.message_hub.get_scalar('train/loss').data[0].tolist() for one in (whole, resumed)
    ]
    assert histories[0] == histories[1]
    names = [
        sorted(path.name for path in (root / folder).glob('*.*') if path.is_file())
        for folder in ('whole', 'work')
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize('moment', ['validation', 'second writing', 'adapter'])
def test_what_a_kill_left_undone_is_made_up_for(make_runner, root, monkeypatch, moment):
    """Killed in the second validation; between the best checkpoint and the epoch's, which names it;
    before the best adapter."""

    def dies(function, nth):
        calls = []

        def call(*arguments, **named):
            calls.append(1)
            if len(calls) == nth:
                raise InterruptedError
            return function(*arguments, **named)

        return call

    place, name, nth = {
        'validation': (ValLoop, 'run', 2),
        'second writing': (WholeFileBackend, 'put', 3),
        'adapter': (adapter_hook, 'write_adapter', 2),
    }[moment]
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(place, name, dies(getattr(place, name), nth))
        make_runner(SHORT).train()
    run, validated = ValLoop.run, []
    monkeypatch.setattr(
        ValLoop, 'run', lambda self: validated.append(self.runner.epoch) or run(self)
    )
    resumed = make_runner({**SHORT, 'resume': True})
    resumed.train()
    assert validated == {'validation': [2], 'second writing': [1, 2], 'adapter': [2]}[moment]
    (best,) = (root / 'work').glob('best_*.pth')
    state = torch.load(best)['state_dict']
    assert all(
        value.equal(state[key])
        for key, value in load_file(root / 'work/adapter_best.safetensors').items()
    )
    assert (
        torch.load(root / 'work/epoch_2.pth')['message_hub']['runtime_info']['best_ckpt']
        == best.name
    )


def test_a_copy_resumes_by_itself_from_what_is_whole(make_runner, root, caplog):
    """The newest is cut short, last_checkpoint is empty, and better weights come: the original
    stays as it is."""
    make_runner(SHORT).train()
    original = {path: path.read_bytes() for path in (root / 'work').iterdir() if path.is_file()}
    copy = shutil.copytree(root / 'work', root / 'copy')
    (copy / 'last_checkpoint').write_text('')
    (copy / 'epoch_2.pth').write_bytes((copy / 'epoch_2.pth').read_bytes()[:5000])
    (copy / f'epoch_9.pth.unfinished-{0:032}').touch()
    state = torch.load(copy / 'epoch_1.pth')
    info = state['message_hub']['runtime_info']
    assert not any(str(root) in str(value) for key, value in info.items() if 'ckpt' in key)
    (root / 'victim').mkdir()
    info.update(
        best_ckpt=str(root / 'work' / info['best_ckpt']),
        best_score=-1.0,
        keep_ckpt_ids=['../victim'],
        best_ckpt_IoU=str(root / 'victim'),
    )
    torch.save(state, copy / 'epoch_1.pth')
    resumed = make_runner({**SHORT, 'resume': True, 'work_dir': str(copy)})
    messages = []
    resumed.logger.warning = messages.append
    resumed.train()
    assert (
        resumed.epoch == 2 and (root / 'victim').is_dir() and not list(copy.glob('*.unfinished*'))
    )
    assert all(path.read_bytes() == content for path, content in original.items())
    text = '\n'.join(messages)
    assert re.search(
        r'Going on from \S+/copy/epoch_1.pth.*\n  epoch_2.pth was left aside: it cannot be read',
        text,
    )
    assert 'victim' in text and 'keep_ckpt_ids' in text


@pytest.mark.slow
def test_more_epochs_follow_the_new_schedule(make_runner, root):
    make_runner(SHORT).train()
    longer = {'train_cfg.max_epochs': 4, 'resume': True}
    with pytest.raises(
        ValueError,
        match=r'set the schedule to the new length too \(--cfg-options param_scheduler.end=4\)',
    ):
        make_runner({**longer, 'param_scheduler.end': 2}).train()
    rates = {}
    for folder in ('whole', 'work'):
        runner = make_runner(
            {
                **longer,
                'param_scheduler.end': 4,
                'resume': folder == 'work',
                'work_dir': str(root / folder),
            }
        )
        runner.train()
        rates[folder] = runner.message_hub.get_scalar('train/lr').data[0][-6:]
    assert rates['work'] == pytest.approx(rates['whole']) and rates['work'][0] > 4e-4
    with pytest.raises(
        ValueError,
        match='saved after 4 epochs, but training is to last 3: there is nothing left to train',
    ):
        make_runner({'train_cfg.max_epochs': 3, 'resume': True}).train()


@pytest.mark.slow
def test_another_training_is_refused_by_name(make_runner, root):
    with pytest.raises(
        FileNotFoundError, match='nothing to resume in .*work: no training was begun there'
    ):
        make_runner({'resume': True}).train()
    shutil.rmtree(root / 'work')
    make_runner({'train_cfg.max_epochs': 1}).train()
    for options, message in [
        (
            {'optim_wrapper.optimizer.lr': 2e-3},
            r'optim_wrapper.optimizer.lr: 0.001 in the checkpoint, 0.002 asked',
        ),
        (
            {'model.backbone.peft.type': 'ConvLoRA', 'train_dataloader.batch_size': 3},
            r"model.backbone.peft.type: 'LoRA' in the checkpoint, 'ConvLoRA' asked\n  "
            r'images_per_step: 2 .*, 3 asked\nResume',
        ),
        (
            {'load_from': str(root / 'work/adapter_last.safetensors')},
            'adapter_last.safetensors: it does not say',
        ),
        (
            {'load_from': str(next((root / 'work').glob('best_*.pth')))},
            'best_Dice_epoch_1.pth: it has no state of the opt',
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            make_runner({'resume': True, **options}).train()
    started = make_runner(
        {
            'load_from': str(root / 'work/adapter_last.safetensors'),
            'train_cfg.max_epochs': 1,
            'work_dir': str(root / 'new'),
            'optim_wrapper.optimizer.lr': 0.0,
        }
    )
    started.train()
    state = started.model.state_dict()
    assert all(
        value.equal(state[key])
        for key, value in load_file(root / 'work/adapter_last.safetensors').items()
    )


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_version_resumes(make_runner, root):
    """No record of the training, paths instead of names."""
    make_runner({'train_cfg.max_epochs': 1}).train()
    state = torch.load(root / 'work/epoch_1.pth')
    del state['training']
    info = state['message_hub']['runtime_info']
    info.update({key: f'/elsewhere/work/{info[key]}' for key in ('best_ckpt', 'last_ckpt')})
    torch.save(state, root / 'work/epoch_1.pth')
    resumed = make_runner({**SHORT, 'param_scheduler.end': 4, 'resume': True})
    resumed.train()
    assert resumed.epoch == 2 and resumed.message_hub.get_info('best_ckpt').startswith(
        str(root / 'work')
    )
