import pytest

from mmsam_peft.engine.schedules import check_schedule


def settings(length: int, unit: str, *schedulers: dict) -> dict:
    return dict(length=[length, unit], param_scheduler=list(schedulers))


WARM = dict(end=10, by_epoch=False)


@pytest.mark.parametrize(
    'old, new, unit, schedulers, option',
    [
        (6, 8, 'epochs', [WARM, dict(end=6)], 'param_scheduler.1.end=8'),
        (6, 8, 'epochs', [WARM, dict(end=8)], None),
        (
            6,
            8,
            'epochs',
            [WARM, dict(by_epoch=True)],
            None,
        ),  # without an end it lasts as long as training
        (6, 4, 'epochs', [WARM, dict(end=6)], None),
        (10, 20, 'iterations', [WARM], 'param_scheduler.end=20'),
        (6, 8, 'epochs', [], None),
    ],
)
def test_a_longer_training_needs_a_longer_schedule(old, new, unit, schedulers, option):
    found, asked = settings(old, unit, *schedulers), settings(new, unit, *schedulers)
    if not option:
        check_schedule(found, asked)
        return
    with pytest.raises(ValueError, match=rf'is now to last {new}, .*--cfg-options {option}\)'):
        check_schedule(found, asked)
