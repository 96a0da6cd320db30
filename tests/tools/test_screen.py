"""What tools show, as a process of its own showed it; everything else is in the log file."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_a_training(trained):
    shown = (trained / 'resumed.log').read_text().splitlines()
    first = next(i for i, line in enumerate(shown) if line.startswith('Epoch(train) '))
    names = [line.split()[0] for line in shown[:first] if line]
    begin = names.index('config')
    assert names[begin : begin + 10] == [
        *('config', 'model', 'method', 'data', 'schedule', 'goes', 'device', 'best', 'work'),
        'Training',
    ]
    assert first <= 16, '\n'.join(shown)
    assert '[2][1/4]  loss: ' in shown[first] and ' lr: ' in shown[first]
    assert ' left: 0:' in shown[first]
    assert sum(line.startswith('Epoch(val) [2]  Dice: ') for line in shown) == 1
    assert 'System environment' not in '\n'.join(shown) and not any('WARN' in one for one in shown)
    end = shown[next(i for i, line in enumerate(shown) if line.startswith('Trained for ')) :]
    assert 'Best: Dice ' in end[0] and end[1].split() == [
        'adapter',
        str(trained / 'adapter_best.safetensors'),
    ]
    assert end[2].startswith('pictures ')
    test, predict = map(shlex.split, end[-2:])
    assert test[:2] == ['python', str(ROOT / 'tools/test.py')]
    assert predict[:2] == ['python', str(ROOT / 'tools/predict.py')] and predict[-1] == 'IMAGES'
    log = max(trained.glob('*/*.log')).read_text()
    assert 'System environment:' in log and 'Config:' in log and 'Hooks will be executed' in log


def test_a_test(tested):
    shown = tested[1].splitlines()
    assert len(shown) < 10 and shown[-1].startswith('Epoch(test)  Dice: ')


def test_what_was_left_out_of_checkpoints(trained):
    """The frozen encoder is in its own file."""
    state = torch.load(trained / 'epoch_2.pth')
    frozen = 'backbone.blocks.0.mlp.lin1.weight'
    assert frozen not in state['state_dict'] and 'optimizer' in state
    assert sorted(path.name for path in trained.glob('*.pth')) == sorted(
        [state['message_hub']['runtime_info']['best_ckpt'], 'epoch_2.pth']
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--help'], '--image-size PIXELS'),
        (['configs/none.py'], 'there is no config configs/none.py'),
        (['configs/lora/quickstart.py', '--lr', '1', '--cfg-options', 'lr=2'], 'say it once'),
        (['configs/lora/quickstart.py', '--lr', 'much'], "invalid float value: 'much'"),
    ],
)
def test_the_command_line_needs_no_network(arguments, message):
    """Nothing is imported that takes seconds: torch is not there."""
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = ['train.py', *sys.argv[1:]];"
        f"sys.path.insert(0, '{ROOT / 'tools'}');"
        f"runpy.run_path('{ROOT / 'tools/train.py'}', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert message in done.stdout + done.stderr and 'Traceback' not in done.stderr
