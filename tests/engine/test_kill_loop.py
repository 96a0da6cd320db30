"""Killing a training many times. Each attempt is a process that is forked from this one, which
has everything imported, and gets SIGKILL at a random moment; files are written slowly, so that it
often comes while one is.

    KILLS=100 python -m pytest tests/engine/test_kill_loop.py -m slow -s
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend
from mmengine.runner import runner as runner_module
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes

from mmsam_peft.adapters import file as adapter_file
from mmsam_peft.apis.training import train
from mmsam_peft.engine.checkpoints import newest_checkpoint

from .conftest import TINY

pytestmark = pytest.mark.slow
KILLS, CHUNKS, PAUSE = int(os.environ.get('KILLS', 30)), 16, 0.003


def write_slowly(content: bytes, path: str | os.PathLike) -> None:
    size = -(-len(content) // CHUNKS)
    with open(path, 'wb') as file:
        for start in range(0, len(content), size):
            file.write(content[start : start + size])
            file.flush()
            time.sleep(PAUSE)


@pytest.fixture
def slow_disk(monkeypatch):
    monkeypatch.setattr(
        LocalBackend, 'put', lambda self, content, path: write_slowly(content, path)
    )
    monkeypatch.setattr(
        adapter_file,
        'save_file',
        lambda tensors, path, metadata: write_slowly(safetensors_bytes(tensors, metadata), path),
    )
    monkeypatch.setattr(Config, 'pretty_text', property(str))
    monkeypatch.setattr(runner_module, 'collect_env', dict)


def attempt(work_dir: Path, after: float | None, name: str) -> bool:
    """One process that trains, or goes on training, in ``work_dir``; whether it was killed,
    ``after`` seconds."""
    config = Config.fromfile(TINY)
    pipeline = config.train_pipeline
    pipeline.insert(3, dict(type='RandomFlip', prob=0.5))
    config.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'launcher': 'none',
            'experiment_name': name,
            'visualizer.name': name,
            'model.backbone.peft.type': 'ConvLoRA',
            'train_dataloader.dataset.pipeline': pipeline,
            'default_hooks.checkpoint.max_keep_ckpts': 1,
            'resume': newest_checkpoint(work_dir)[0] is not None,
        }
    )
    child = os.fork()
    if not child:
        status = 1
        try:
            log = os.open(work_dir.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            sys.stdout = sys.stderr = open(log, 'w', buffering=1)  # instead of pytest's
            train(config)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, work_dir.with_suffix('.log').read_text()[-3000:]
    return False


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return (
        load_file(path)
        if path.suffix == '.safetensors'
        else torch.load(path, weights_only=True)['state_dict']
    )


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(value.equal(other[key]) for key, value in one.items())


def belongs(adapter: Path, checkpoint: Path) -> bool:
    state = tensors(checkpoint)
    return all(value.equal(state[key]) for key, value in tensors(adapter).items())


def test_many_kills(root, scope, slow_disk):
    rng, kills, in_writing, behind, runs, start = random.Random(0), 0, 0, 0, 0, time.time()
    attempt(root / 'whole', None, 'kill_whole')
    duration = time.time() - start
    expected = {
        path.name: tensors(path)
        for path in (root / 'whole').iterdir()
        if path.suffix in ('.pth', '.safetensors')
    }
    assert sorted(name.split('_')[0] for name in expected) == [
        'adapter',
        'adapter',
        'best',
        'epoch',
    ]
    while kills < KILLS:
        work_dir, runs, done, before = root / f'run_{runs}', runs + 1, False, None
        longer = 1.0  # where the machine has become slower, for an attempt to get anywhere
        while not done:
            done = not attempt(
                work_dir, rng.uniform(0.1, 1.1) * duration * longer, f'kill_{runs}_{kills}'
            )
            kills += not done
            in_writing += bool(list(work_dir.glob('*.unfinished-*')))
            files = [*work_dir.glob('*.pth'), *work_dir.glob('*.safetensors')]
            assert all(len(tensors(path)) for path in files), 'an unreadable file'
            last = newest_checkpoint(work_dir)[0]
            longer, before = longer if last != before else longer * 1.2, last
            behind += bool(
                last
                and not done
                and not (
                    (work_dir / 'adapter_last.safetensors').exists()
                    and belongs(work_dir / 'adapter_last.safetensors', last)
                )
            )
        found = {
            path.name: tensors(path)
            for path in work_dir.iterdir()
            if path.suffix in ('.pth', '.safetensors')
        }
        assert found.keys() == expected.keys()
        assert all(equal(found[name], expected[name]) for name in expected), (
            'not what the uninterrupted training made'
        )
        (best,) = work_dir.glob('best_*.pth')
        assert belongs(work_dir / 'adapter_best.safetensors', best), 'a stale adapter'
    print(
        f'\n{kills} kills in {runs} trainings, {in_writing} of them while a file was written, '
        f'{behind} between a checkpoint '
        f'and its adapter: 0 unreadable, 0 stale, 0 of {runs} trainings other than the '
        'uninterrupted one; '
        f'{time.time() - start:.0f} s'
    )
