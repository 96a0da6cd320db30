"""Two methods with two seeds each; the training of one of the four is killed after its first
epoch."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from safetensors import safe_open

pytestmark = pytest.mark.slow

TOOL = 'analysis_tools/compare_peft.py'
METHODS = ('Frozen', 'LoRA(rank=2)')
KILLED = ('LoRA(rank=2)', 1)
KILLER = """
import os
import signal

from mmengine.hooks import Hook

from mmsam_peft.registry import HOOKS


@HOOKS.register_module()
class KillOnce(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        first = runner.epoch == 1 and not runner._resume
        if first and 'LoRA' in runner.work_dir and runner.seed == 1:
            print('the end', flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope='module')
def asked(tmp_path_factory, config) -> list:
    """The tool's arguments."""
    place = tmp_path_factory.mktemp('compare')
    (place / 'killer.py').write_text(KILLER)
    (place / 'base.py').write_text(
        f"_base_ = '{config}'\ncustom_imports = dict(imports=['killer'])\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='KillOnce')]\n"
        "default_hooks = dict(logger=dict(type='LoggerHook', interval=1), "
        'visualization=dict(draw=False))\n'
    )
    return [place / 'base.py', '--methods', *METHODS, '--seeds', 0, 1, '--work-dir', place / 'runs']


@pytest.fixture(scope='module')
def work_dir(asked) -> Path:
    return asked[-1]


@pytest.fixture(scope='module')
def calls(start, asked, work_dir) -> list[subprocess.CompletedProcess]:
    """Two calls of the same."""
    return [
        start(TOOL, *asked, '--jobs', 2, check=False, PYTHONPATH=str(work_dir.parent))
        for _ in range(2)
    ]


def results(work_dir: Path) -> dict[tuple[str, int], dict]:
    read = [json.loads(path.read_text()) for path in work_dir.glob('*/*/result.json')]
    return {(result['method'], result['seed']): result for result in read}


def trainings(work_dir: Path) -> list[list[dict]]:
    """What each training below a folder logged, step by step."""
    logs = sorted(work_dir.rglob('vis_data/scalars.json'))
    return [
        [line for line in map(json.loads, log.read_text().splitlines()) if 'loss' in line]
        for log in logs
    ]


def test_reports_a_failed_run_and_makes_the_others(calls, work_dir):
    first, _ = calls
    assert first.returncode == 1 and '1 of 4 runs failed: ' in first.stderr
    (report,) = re.findall(
        r'\] (.*?): FAILED: its process ended with -9; the end of (.*?):\n((?:    .*\n)+)',
        first.stdout,
    )
    assert report[0] == 'LoRA(rank=2) seed 1' and report[2].endswith('    the end\n')
    assert Path(report[1]) == next(work_dir.glob('LoRA*/seed1/trial.log'))
    assert first.stdout.count(': started\n') == 4
    assert (
        len(
            re.findall(
                r'\[\d/4\] .* seed \d: Dice \d+\.\d\d, \d+ (?:s|min); about \d+ (?:s|min) left',
                first.stdout,
            )
        )
        == 3
    )


def test_goes_on_and_trains_nothing_again(calls, work_dir):
    _, second = calls
    assert second.returncode == 0, second.stderr
    assert (
        '4 runs, 3 of them finished before' in second.stdout and second.stdout.count('resumed') == 1
    )
    assert ': started\n' not in second.stdout and '[1/1] LoRA(rank=2) seed 1: Dice' in second.stdout
    assert len(trainings(work_dir)) == 5
    killed, resumed = (
        [line['epoch'] for line in steps]
        for steps in trainings(next(work_dir.glob('LoRA*/seed1')).parent)[1:]
    )
    assert killed == [1, 1, 1, 1] and resumed == [2, 2, 2, 2]


def test_results(calls, work_dir):
    made = results(work_dir)
    assert set(made) == {(method, seed) for method in METHODS for seed in (0, 1)}
    for (method, seed), result in made.items():
        folder = next(work_dir.glob(f'{method[:4]}*/seed{seed}'))
        assert {'Dice', 'IoU', 'BER'} <= set(result['scores']) and 'time' not in result['scores']
        assert result['trained_parameters']['backbone'] == (
            0 if method == 'Frozen' else 2 * 2 * (32 + 96)
        )
        assert result['weights'] == 'adapter_best.safetensors'
        assert result['adapter_bytes'] == (folder / result['weights']).stat().st_size
        with safe_open(folder / result['weights'], 'pt') as file:
            assert (
                json.loads(file.metadata()['mmsam_peft_adapter'])['peft']['type']
                == method.split('(')[0]
            )
        assert result['attempts'] == 1 + ((method, seed) == KILLED) and result['shared']
        if (method, seed) == KILLED:
            assert result['seconds'] is None and 'killed before' in result['seconds_note']
        else:
            attempts = json.loads((folder / 'attempts.json').read_text())['attempts']
            assert result['seconds'] == attempts[0]['seconds'] > 0
        assert result['iterations_per_second'] > 1 and result['threads'] == 1 and result['device']
        assert result['peak_memory_bytes'] is None or 1e8 < result['peak_memory_bytes'] < 4e9
        assert result['memory_kind'] in ('resident', 'GPU')
        assert {'python', 'torch', 'mmengine', 'mmcv', 'mmseg', 'mmsam_peft'} == set(
            result['versions']
        )
        assert result['settings']['randomness']['seed'] == seed and result['config'] == str(
            work_dir.parent / 'base.py'
        )


def test_table_and_plot(calls, work_dir, call, capsys, asked, monkeypatch):
    text = (work_dir / 'table.md').read_text()
    assert text in calls[1].stdout and text.count('| 2 |') == 2
    dice = [
        result['scores']['Dice']
        for (method, _), result in results(work_dir).items()
        if method == 'Frozen'
    ]
    assert f'| `Frozen` | 2 | {sum(dice) / 2:.2f} ± {abs(dice[0] - dice[1]) / 2**0.5:.2f} |' in text
    for name in ('table.md', 'plot.png'):
        (work_dir / name).unlink()
    monkeypatch.syspath_prepend(work_dir.parent)
    call(TOOL, *asked, '--table-only')
    assert (work_dir / 'table.md').read_text() == text and (
        work_dir / 'plot.png'
    ).stat().st_size > 10_000
    assert len(trainings(work_dir)) == 5


def test_other_settings_are_an_error(calls, work_dir, call, asked, monkeypatch):
    monkeypatch.syspath_prepend(work_dir.parent)
    before = {path: path.stat().st_mtime for path in work_dir.rglob('*')}
    with pytest.raises(
        ValueError,
        match='Frozen/seed0 holds a run with other settings: .*max_epochs: found 2, asked',
    ):
        call(TOOL, *asked, '--cfg-options', 'train_cfg.max_epochs=3')
    assert {path: path.stat().st_mtime for path in work_dir.rglob('*')} == before


def test_faults_stop_it_before_anything_is_trained(call, asked, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(asked[0]).parent)
    with pytest.raises(ValueError, match='Nothing was trained, because of\n  Lora: '):
        call(TOOL, asked[0], '--methods', 'Frozen', 'Lora', '--work-dir', tmp_path / 'runs')
    assert not (tmp_path / 'runs').exists()
