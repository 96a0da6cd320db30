"""Signals reach the training through the tools and scripts; it saves, and nothing is left
running."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
LONG = [
    '--cfg-options',
    'train_cfg.max_epochs=500',
    'train_dataloader.num_workers=2',
    'train_dataloader.persistent_workers=True',
]


def begin(work_dir: Path, *command, **env) -> subprocess.Popen:
    """Starts a process group, and waits for the training in it to make its first steps."""
    env = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        **env,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    }
    with open(f'{work_dir}.log', 'w') as log:
        started = subprocess.Popen(
            [*map(str, command)], stdout=log, stderr=log, env=env, start_new_session=True
        )
    while 'Epoch(train) ' not in Path(f'{work_dir}.log').read_text():
        assert started.poll() is None, Path(f'{work_dir}.log').read_text()[-3000:]
        time.sleep(0.1)
    return started


def members(group: int) -> list[int]:
    """The processes of a group that still run."""
    stats = [
        path.read_text().rsplit(')', 1)
        for path in Path('/proc').glob('[0-9]*/stat')
        if path.exists()
    ]
    return [
        int(name.split()[0])
        for name, rest in stats
        if int(rest.split()[2]) == group and rest.split()[0] != 'Z'
    ]


@pytest.mark.parametrize('whole_group', [False, True])
def test_train_saves_and_says_how_to_go_on(config, start, tmp_path, whole_group):
    """Slurm sends the signal to the workers too."""
    work_dir = tmp_path / 'run'
    started = begin(
        work_dir, sys.executable, ROOT / 'tools/train.py', config, '--work-dir', work_dir, *LONG
    )
    second = start('train.py', config, '--work-dir', work_dir, check=False)
    assert f'(process {started.pid}, since' in second.stderr and second.returncode == 1
    (os.killpg if whole_group else os.kill)(
        started.pid, signal.SIGUSR1 if whole_group else signal.SIGTERM
    )
    assert started.wait(600) == 128 + (signal.SIGUSR1 if whole_group else signal.SIGTERM)
    log = Path(f'{work_dir}.log').read_text()
    assert re.search(r'Saved: \w+\.pth\. To go on, run the same command with --resume', log)
    assert 'Traceback' not in log
    done = torch.load(work_dir / (work_dir / 'last_checkpoint').read_text())['meta']['iter']
    assert done > 0 and not (work_dir / 'training.lock').exists()
    options = LONG[:1] + [f'train_cfg.max_epochs={done // 4 + 1}']
    resumed = start('train.py', config, '--work-dir', work_dir, '--resume', *options).stdout
    assert (
        f'after iteration {done}' in resumed and (work_dir / f'epoch_{done // 4 + 1}.pth').exists()
    )


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_dist_train_passes_signals_on_and_leaves_no_orphans(config, tmp_path, number):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    work_dir = tmp_path / 'run'
    started = begin(
        work_dir,
        'bash',
        ROOT / 'tools/dist_train.sh',
        config,
        2,
        '--work-dir',
        work_dir,
        *LONG,
        PORT=port,
    )
    os.kill(started.pid, number)
    assert started.wait(600) != 0
    deadline = time.monotonic() + 300
    while members(started.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not members(started.pid)
    assert 'run the same command with --resume' in Path(f'{work_dir}.log').read_text()
    state = torch.load(work_dir / (work_dir / 'last_checkpoint').read_text())
    assert len(state['training']['random']) == 2
