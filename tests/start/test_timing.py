import subprocess
import sys

import pytest

from mmsam_peft.start import timing
from mmsam_peft.start.timing import MARK, Timing, Untimed, measure


@pytest.fixture
def child(monkeypatch):
    """``child(PROGRAM)``: what takes the place of the trial."""
    started = subprocess.Popen

    def set_program(program):
        monkeypatch.setattr(
            subprocess,
            'Popen',
            lambda command, **how: started([sys.executable, '-c', program], **how),
        )

    return set_program


def say(*lines):
    return ''.join(f"print('{MARK}{line}', flush=True)\n" for line in lines)


def test_the_first_step_warms_up(child):
    child(
        'print("noise of a library")\n'
        + say(
            '["held", 1000]',
            '["step", 9.0]',
            '["above", 10]',
            '["step", 2.0]',
            '["step", 3.0]',
            '["step", 4.0]',
            '["image", 0.5]',
        )
    )
    found = measure('config', 20)
    assert found == Timing(step=3.0, validation=0.5, held=1000, above=10)
    assert found.memory(batch=4) == 1040


@pytest.mark.parametrize(
    'program, reason, too_large',
    [
        (say('["held", 1]') + 'import time; time.sleep(60)', 'takes more than 0 seconds', False),
        (say('["held", 1]') + 'import os; os.kill(os.getpid(), 9)', 'more memory than', True),
        (say('["error", null]'), 'more memory than there is', True),
        (say('["error", "ValueError: no"]'), 'ValueError: no', False),
        ('raise SystemExit(3)', 'ended with status 3', False),
    ],
)
def test_what_keeps_it_from_measuring(child, program, reason, too_large):
    child(program)
    found = measure('config', 0.3 if 'sleep' in program else 600)
    assert isinstance(found, Untimed) and reason in found.reason and found.too_large == too_large


def test_memory_is_known():
    assert timing.free_memory() > 1e6
