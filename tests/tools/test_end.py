"""How tools end that are stopped, that nobody reads on, or whose words a terminal cannot show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.mark.parametrize(
    'body, said',
    [
        ("print('größer')\nraise KeyboardInterrupt", ['Stopped.']),
        ("while True: print('a line')", []),
        ("raise ValueError('a fault')", ['Traceback', 'ValueError: a fault']),
    ],
)
def test_only_faults_are_shown(body, said):
    command = [sys.executable, '-c', f'import tool_arguments\n{body}']
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    plain = dict(os.environ, PYTHONIOENCODING='ascii')
    tool = subprocess.Popen(command, cwd=TOOLS, env=plain, **pipes)
    tool.stdout.readline()
    tool.stdout.close()
    lines = tool.stderr.read().splitlines()
    tool.stderr.close()
    assert tool.wait() != 0
    assert bool(lines) == bool(said) and all(any(part in line for line in lines) for part in said)
