"""A sweep of two methods over two rates: planned, printed, killed, gone on with, collected."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TOOL = 'analysis_tools/suite.py'
KILLER = """
import os
import signal

from mmengine.hooks import Hook

from mmsam_peft.registry import HOOKS


@HOOKS.register_module()
class KillOnce(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        if runner.epoch == 1 and not runner._resume and 'LoRA/lr=0.01' in runner.work_dir:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope='module')
def asked(tmp_path_factory, config) -> list:
    """The tool's arguments; validation is on a part of the training set."""
    place = tmp_path_factory.mktemp('suite')
    (place / 'killer.py').write_text(KILLER)
    (place / 'base.py').write_text(
        f"_base_ = '{config}'\ncustom_imports = dict(imports=['killer'])\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='KillOnce')]\n"
        'default_hooks = dict(visualization=dict(draw=False))\n'
        "held_out = dict(img_path='img_dir/train', seg_map_path='ann_dir/train')\n"
        'val_dataloader = dict(dataset=dict(data_prefix=held_out))\n'
    )
    return [
        '--data', f'discs={place / "base.py"}', '--methods', 'Frozen', 'LoRA',
        '--lrs', '1e-3', '1e-2', '--work-dir', place / 'runs',
    ]  # fmt: skip


@pytest.fixture(scope='module')
def work_dir(asked) -> Path:
    return asked[-1]


@pytest.fixture(scope='module')
def calls(start, asked, work_dir) -> list[subprocess.CompletedProcess]:
    """Two calls of the same, four runs in one process."""
    environment = dict(PYTHONPATH=str(work_dir.parent))
    return [
        start(TOOL, *asked, '--runs-per-process', 4, check=False, **environment) for _ in range(2)
    ]


def test_a_kill_costs_one_run(calls, work_dir):
    first, second = calls
    assert first.returncode == 1 and '1 of 4 runs failed: ' in first.stderr
    assert second.returncode == 0, second.stderr
    assert '4 runs, 3 of them finished before' in second.stdout
    assert 'discs LoRA lr 0.01 seed 0: resumed' in second.stdout
    result = json.loads((work_dir / 'discs/LoRA/lr=0.01/seed0/result.json').read_text())
    assert result['attempts'] == 2 and result['lr'] == 0.01 and result['data'] == 'discs'
    assert result['val_scores']['Dice'] >= 0
    assert not list(work_dir.rglob('*.pth')), 'adapters stand for the checkpoints'


def test_each_image_has_its_scores(calls, work_dir):
    for path in work_dir.rglob('images.json'):
        images = json.loads(path.read_text())
        scores = json.loads(path.with_name('result.json').read_text())['scores']
        assert len(images) == 3
        for metric in ('Dice', 'IoU'):
            values = [image[metric] for image in images.values()]
            assert sum(values) / 3 == pytest.approx(scores[metric], abs=1e-6)


def test_tables(calls, work_dir, call, asked):
    page = (work_dir / 'report.md').read_text()
    assert page in calls[1].stdout and '### Learning rates on discs: Dice' in page
    names = ('scores', 'sweep_discs', 'order_discs', 'pairs_discs')
    for name in names:
        for suffix in ('csv', 'tex'):
            (work_dir / f'{name}.{suffix}').unlink()
    call(TOOL, '--collect-only', '--work-dir', work_dir)
    assert (work_dir / 'report.md').read_text() == page
    assert all(
        (work_dir / f'{name}.{suffix}').exists() for name in names for suffix in ('csv', 'tex')
    )


def test_prints_commands_and_trains_nothing(call, asked, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(Path(asked[-1]).parent)
    capsys.readouterr()
    call(TOOL, *asked[:-1], tmp_path / 'runs', '--print', 'slurm', '--seeds', 0, 1, '--gpus', 2)
    said = capsys.readouterr().out
    assert '#SBATCH --array=0-7\n' in said and said.count('/seed1\n') == 4
    assert not list(tmp_path.rglob('result.json')) and not list(tmp_path.rglob('*.safetensors'))


def test_distributed(calls, work_dir, tmp_path):
    """Two processes make two runs, one after another."""
    folders = []
    for method in ('Frozen', 'LoRA'):
        folder = tmp_path / method / 'seed0'
        folder.mkdir(parents=True)
        for name in ('planned.json', 'config.py'):
            text = (work_dir / f'discs/{method}/lr=0.001/seed0/{name}').read_text()
            (folder / name).write_text(text)
        folders.append(folder)
    tool = Path(__file__).parents[2] / 'tools/analysis_tools/trial.py'
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    done = subprocess.run(
        [*torchrun, tool, *folders, '--launcher', 'pytorch'],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(work_dir.parent)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for folder in folders:
        assert len(json.loads((folder / 'images.json').read_text())) == 3
        assert 'Dice' in json.loads((folder / 'result.json').read_text())['scores']
