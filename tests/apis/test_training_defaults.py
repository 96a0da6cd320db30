"""What a data set is trained with follows its size, within bounds, and says why."""

import math
from pathlib import Path

import pytest

from mmsam_peft.apis.configs import read_config
from mmsam_peft.apis.settings import SETTINGS
from mmsam_peft.apis.training_defaults import training_defaults

NUMBERS = (1, 2, 3, 5, 7, 9, 20, 50, 99, 100, 101, 400, 5000)


def test_length_grows_with_the_images_and_has_a_floor():
    found = [training_defaults(number) for number in NUMBERS]
    for number, one in zip(NUMBERS, found, strict=True):
        steps = math.ceil(number / one.batch_size.value)
        assert one.iterations.value == one.max_epochs.value * steps >= 400
        assert one.max_epochs.value >= 16 and 1 <= one.batch_size.value <= min(4, number)
        if number < 10:  # no step for one image alone
            last = number - (steps - 1) * one.batch_size.value
            assert last >= one.batch_size.value / 2
    epochs = [one.max_epochs.value for one in found]
    assert epochs == sorted(epochs, reverse=True)
    assert found[-1].iterations.value > found[-2].iterations.value > 400


@pytest.mark.parametrize('number', NUMBERS)
@pytest.mark.parametrize('num_val', [0, 1, 10, 1000])
def test_validation_takes_a_fifth_of_the_time(number, num_val):
    """An image of validation costs 0.4 of one of training, 16 times that in 16 windows; the scores
    before training count too."""
    for windows in (1, 16):
        one = training_defaults(number, num_val, val_cost=windows)
        epochs, interval = one.max_epochs.value, one.val_interval.value
        validations = math.ceil(epochs / interval)
        assert 1 <= interval <= epochs and validations <= 20
        spent = 0.4 * windows * num_val * (1 + validations)
        assert interval == epochs or spent <= 0.2 * (spent + number * epochs) * (1 + 1e-9)


def test_methods_and_memory():
    peft, full, scratch = (
        training_defaults(200, method=method, from_scratch=scratch).lr.value
        for method, scratch in (('LoRA', False), ('Full', False), ('Full', True))
    )
    assert full < peft <= scratch
    rates = [training_defaults(number).lr.value for number in NUMBERS]
    assert rates == sorted(rates, reverse=True) and rates[0] > rates[-1] == peft
    assert training_defaults(20, max_batch=1).batch_size.value == 1
    assert 'memory' in training_defaults(20, max_batch=2).batch_size.reason
    one = training_defaults(20, 5)
    reasons = [choice.reason for choice in vars(one).values()]
    assert all(len(reason.split()) > 2 for reason in reasons)
    for wrong in (dict(num_images=0), dict(num_images=1, max_batch=0)):
        with pytest.raises(ValueError, match='at least one image'):
            training_defaults(**wrong)


def test_all_settings_can_be_written_into_a_config(tmp_path):
    configs = Path(__file__).parents[2] / 'configs'
    settings = training_defaults(5, 5).settings()
    assert settings.keys() <= SETTINGS.keys()
    path = tmp_path / 'mine.py'
    lines = [f"_base_ = '{configs / 'convlora/custom.py'}'"]
    path.write_text('\n'.join(lines + [f'{name} = {value!r}' for name, value in settings.items()]))
    cfg = read_config(path)
    warm_up, decay = cfg.param_scheduler
    assert warm_up.end == training_defaults(5).warm_up.value
    assert decay.end == cfg.train_cfg.max_epochs == settings['max_epochs']
    assert cfg.optim_wrapper.optimizer.lr == settings['lr']
    assert cfg.default_hooks.early_stopping.patience == settings['patience']
