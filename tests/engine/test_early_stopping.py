"""Training ends when validation brings nothing better, at the same place after a resumption."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
from mmengine.hooks import Hook
from safetensors.torch import load_file

from mmsam_peft.engine.hooks import EarlyStoppingHook
from mmsam_peft.engine.hooks.stop_hook import StopHook
from mmsam_peft.engine.stop_signals import StopSignals

from .test_finite_hook import log
from .test_resume import Kill, same

SCORES = [50.0, 60.0, float('nan'), 60.0, 58.0, 90.0, 95.0]
"""Of the epochs: from the second on nothing better for three, so that the fifth is the last."""
OPTIONS = {
    'train_cfg.max_epochs': 7,
    'param_scheduler.end': 7,
    'default_hooks.checkpoint': dict(
        type='CheckpointHook', interval=1, save_best='Dice', rule='greater'
    ),
    'default_hooks.early_stopping': dict(type='EarlyStoppingHook', patience=3),
}


class Scores(Hook):
    """Puts other scores in the place of what was measured, before anyone looks."""

    priority = 'VERY_HIGH'

    def after_val_epoch(self, runner, metrics=None) -> None:
        metrics['Dice'] = SCORES[runner.epoch - 1]


def trained(runner, *hooks):
    with StopSignals() as signals:
        for hook in [Scores(), *hooks, StopHook(signals)]:
            runner.register_hook(hook)
        runner.train()
    return runner


@pytest.mark.parametrize(
    'killed_at',
    [
        pytest.param(9, id='while it counts', marks=pytest.mark.slow),
        pytest.param(15, id='before its last decision'),
    ],
)
def test_ends_at_the_same_epoch_after_a_resumption(make_runner, root, killed_at):
    whole = trained(make_runner(deepcopy({**OPTIONS, 'work_dir': str(root / 'whole')})))
    assert whole.epoch == 5 and whole.iter == 15
    text = log(root / 'whole')
    text = text[text.index('Training ends early') :]
    assert 'after epoch 5' in text and 'the best is 60, after epoch 2' in text
    assert 'adapter_best.safetensors' in text
    best = load_file(root / 'whole' / 'adapter_best.safetensors')

    ended = make_runner(deepcopy(OPTIONS))
    with pytest.raises(InterruptedError):
        trained(ended, Kill(killed_at), KillInValidation(killed_at))
    resumed = trained(make_runner(deepcopy({**OPTIONS, 'resume': True})))
    assert (resumed.epoch, resumed.iter) == (5, 15) and same(whole, resumed)
    kept = load_file(root / 'work' / 'adapter_best.safetensors')
    assert all(value.equal(kept[key]) for key, value in best.items())


class KillInValidation(Hook):
    """Ends training, as a crash would, in the validation after iteration ``at``."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_val(self, runner) -> None:
        if runner.iter == self.at:
            raise InterruptedError


def test_refuses_what_it_cannot_follow(make_runner):
    with pytest.raises(ValueError, match='at least 1 validation'):
        EarlyStoppingHook(patience=0)
    options = {**OPTIONS, 'default_hooks.checkpoint': dict(type='CheckpointHook', save_best=None)}
    with pytest.raises(ValueError, match='does not know what to follow'):
        make_runner(options).train()


def test_smaller_may_be_better_and_the_margin_counts():
    hook = EarlyStoppingHook(patience=2, monitor='error', rule='less', min_delta=0.1)
    from mmengine.runner.base_loop import BaseLoop

    class Loop(BaseLoop):
        def __init__(self):
            self.iter, self.max_iters, self.stop_training = 1, 9, False

        def run(self):
            pass

    loop = Loop()
    runner = SimpleNamespace(
        hooks=[], _train_loop=loop, train_loop=loop, iter=1, epoch=1, work_dir='nowhere',
        logger=SimpleNamespace(info=lambda text: None),
    )  # fmt: skip
    for value in (1.0, 0.95, 0.8, 0.75):
        hook.after_val_epoch(runner, dict(error=value))
        assert not loop.stop_training
    hook.after_val_epoch(runner, dict(error=0.71))
    assert loop.stop_training and hook.state['best'] == 0.8
