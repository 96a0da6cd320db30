"""How tools end that are stopped, or that nobody reads on."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.mark.parametrize(
    'body, said',
    [
        ('raise KeyboardInterrupt', ['Stopped.']),
        ("while True: print('a line')", []),
        ("raise ValueError('a fault')", ['Traceback', 'ValueError: a fault']),
    ],
)
def test_only_faults_are_shown(body, said):
    command = [sys.executable, '-c', f'import tool_arguments\n{body}']
    tool = subprocess.Popen(
        command, cwd=TOOLS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    tool.stdout.readline()
    tool.stdout.close()
    lines = tool.stderr.read().splitlines()
    tool.stderr.close()
    assert tool.wait() != 0
    assert bool(lines) == bool(said) and all(any(part in line for line in lines) for part in said)
