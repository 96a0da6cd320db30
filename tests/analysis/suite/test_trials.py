import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmsam_peft.analysis.suite import trial
from mmsam_peft.analysis.suite.run import Run
from mmsam_peft.analysis.suite.trial import find_weights, make_trials, measured, validated
from mmsam_peft.analysis.suite.trials import Trials, commands


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path, Config(), dict(method='LoRA', seed=0, metric='Dice'))


@pytest.mark.parametrize(
    'files, best',
    [
        (
            ['adapter_last.safetensors', 'adapter_best.safetensors', 'best_Dice_epoch_1.pth'],
            'adapter_best.safetensors',
        ),
        (
            [
                'best_Dice_epoch_1.pth',
                'adapter_best_IoU.safetensors',
                'adapter_best_Dice.safetensors',
            ],
            'adapter_best_Dice.safetensors',
        ),
        (['best_IoU_epoch_2.pth', 'best_Dice_epoch_1.pth', 'epoch_3.pth'], 'best_Dice_epoch_1.pth'),
        (['adapter_last.safetensors', 'epoch_3.pth'], 'adapter_last.safetensors'),
        (['epoch_3.pth', 'epoch_2.pth'], 'epoch_3.pth'),
    ],
)
def test_best_weights_else_the_last(run, files, best):
    with pytest.raises(FileNotFoundError, match='neither an adapter nor a checkpoint'):
        find_weights(run)
    for name in files:
        (run.folder / name).touch()
    for epoch, whole in ((3, True), (4, False)):
        checkpoint = run.folder / f'epoch_{epoch}.pth'
        torch.save(
            dict(meta=dict(epoch=epoch, iter=epoch), state_dict={}, optimizer={}, message_hub={}),
            checkpoint,
        )
        checkpoint.write_bytes(
            checkpoint.read_bytes()[: None if whole else 300]
        )  # killed while it was written
    (run.folder / 'last_checkpoint').write_text('')
    assert find_weights(run) == run.folder / best


@pytest.mark.parametrize(
    'name', ['adapter_best_depth_RErr.safetensors', 'best_depth_RErr_epoch_1.pth']
)
def test_best_weights_of_a_tasks_metric(tmp_path, name):
    run = Run(tmp_path, Config(), dict(method='LoRA', seed=0, metric='depth/RErr'))
    for file in ('adapter_last.safetensors', 'best_seg_mIoU_epoch_1.pth', name):
        (tmp_path / file).touch()
    assert find_weights(run) == tmp_path / name


def attempt(began: str, resumed: bool, **facts) -> dict:
    known = dict(seconds=1.0, resident_bytes=None, shared=False, finished=False)
    return {**known, 'began': began, 'resumed': resumed, **facts}


def log(run: Run, name: str, *lines: dict) -> None:
    path = run.folder / name / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, lines)))


def test_time_and_memory_over_all_attempts(run):
    attempts = [
        attempt('1', False, seconds=10.5, shared=True),
        attempt('2', True, seconds=20.0, resident_bytes=5000, finished=True),
    ]
    log(run, '0', dict(loss=1, time=55))  # of an attempt that left no checkpoint
    log(run, '1', dict(loss=1, time=0.1), dict(loss=1, time=0.5), dict(Dice=3, time=99))
    log(run, '2', dict(loss=1, time=0.2))
    log(run, 'test/3', dict(loss=1, time=77))
    assert measured(run, attempts) == dict(
        seconds=30.5,
        seconds_note=None,
        attempts=2,
        shared=True,
        iterations_per_second=5.0,
        peak_memory_bytes=5000,
        memory_kind='resident',
    )
    log(run, '4', dict(loss=1, time=0.2, memory=300), dict(loss=1, time=0.2, memory=200))
    lost = measured(run, [{**attempts[0], 'seconds': None}, attempts[1]])
    assert lost['seconds'] is None and 'killed' in lost['seconds_note']
    assert (lost['peak_memory_bytes'], lost['memory_kind']) == (300 * 2**20, 'GPU')


@pytest.mark.parametrize(
    ('rule', 'metric', 'expected'),
    [
        ('greater', 'Dice', dict(Dice=7.0, IoU=3.0)),
        ('less', 'Dice', dict(Dice=5.0, IoU=4.0)),
        ('greater', None, dict(Dice=6.0, IoU=2.0)),
    ],
)
def test_validation_of_the_tested_weights(run, rule, metric, expected):
    """Of the best, where the best are kept; of the last without; none of a lost attempt."""
    run.facts.update(rule=rule, metric=metric)
    timing = dict(data_time=0.1, time=0.2, step=1)
    log(run, '0', dict(Dice=9.0, IoU=9.0, **timing))
    log(run, '1', dict(loss=1, data_time=3), dict(Dice=5.0, IoU=4.0, **timing))
    log(run, '2', dict(Dice=7.0, IoU=3.0, **timing), dict(Dice=6.0, IoU=2.0, **timing))
    log(run, 'test/3', dict(Dice=99.0, **timing))
    attempts = [attempt('0', False), attempt('1', False), attempt('2', True, finished=True)]
    assert validated(run, attempts) == expected
    assert validated(run, [attempt('9', False)]) == {}


def test_a_score_that_is_nan_is_a_failure(run, monkeypatch):
    """It has no place in a table, and would be taken for finished."""
    (run.folder / 'adapter_best.safetensors').touch()
    run.write()
    monkeypatch.setattr(trial, '_train', lambda *args: [attempt('0', False, finished=True)])
    monkeypatch.setattr(trial, '_test', lambda *args: (dict(Dice=float('nan'), IoU=3.0), {}))
    assert make_trials([run.folder]) == [run.folder]
    assert run.failure.read_text().startswith('Dice of the test is NaN')
    assert not run.result.exists()
    monkeypatch.setattr(trial, '_test', lambda *args: (dict(Dice=2.0, IoU=3.0), {}))
    assert make_trials([run.folder]) == [] and not run.failure.exists()
    assert json.loads(run.result.read_text())['scores'] == dict(Dice=2.0, IoU=3.0)
    monkeypatch.setattr(trial, '_train', lambda *args: pytest.fail('it is finished'))
    assert make_trials([run.folder]) == []


def test_not_while_another_process_makes_it(run):
    """Its attempts and logs are the other's."""
    run.write()
    (run.folder / 'test').mkdir()
    code = (
        'import fcntl, json, socket, sys, time; file = open(sys.argv[1], "w")\n'
        'owner = dict(host=socket.gethostname(), pid=7, since="now")\n'
        'fcntl.lockf(file, fcntl.LOCK_EX); file.write(json.dumps(owner)); file.flush()\n'
        'print("locked", flush=True); time.sleep(60)'
    )
    other = subprocess.Popen(
        [sys.executable, '-c', code, str(run.folder / 'test/training.lock')],
        stdout=subprocess.PIPE,
        text=True,
    )
    while other.stdout.readline() != 'locked\n':
        pass
    try:
        assert make_trials([run.folder]) == [run.folder]
    finally:
        other.kill()
    assert 'is in use by a training' in run.failure.read_text() and not run.journal.exists()


def planned(folder: Path, **facts) -> Run:
    config = Config(dict(model=dict(type='X')))
    return Run(folder, config, dict(method='LoRA', data='kvasir', seed=0, lr=1e-3, **facts))


def test_commands_for_other_machines(tmp_path):
    runs = [planned(tmp_path / name) for name in ('a', 'b c')]
    done = planned(tmp_path / 'done')
    done.folder.mkdir()
    done.result.write_text('{}')
    tool = Path('tools/trial.py')
    a, b = f'{tmp_path}/a', f"'{tmp_path}/b c'"
    assert commands([*runs, done], tool, 'local') == (
        f'python tools/trial.py {a}\npython tools/trial.py {b}'
    )
    assert commands(runs, tool, 'torchrun', gpus=8).splitlines()[1] == (
        f'torchrun --nproc_per_node=8 tools/trial.py {b} --launcher pytorch'
    )
    script = commands([*runs, done], tool, 'slurm', gpus=4)
    assert '#SBATCH --array=0-1\n' in script and '--ntasks-per-node=4' in script
    (tmp_path / 'script').write_text(script.replace('srun python', 'echo'))
    for number, folder in enumerate(('a', 'b c')):
        said = subprocess.run(
            ['bash', tmp_path / 'script'],
            env=dict(SLURM_ARRAY_TASK_ID=str(number)),
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout == f'tools/trial.py {tmp_path / folder} --launcher slurm\n'
    assert Run.read(tmp_path / 'b c').facts == runs[1].facts


TOOL = """
import json, os, signal, sys
from pathlib import Path

for folder in map(Path, sys.argv[1:]):
    if not (folder / 'result.json').exists():
        if folder.name == 'bad':
            (folder / 'failure.txt').write_text('CUDA is out of memory\\n\\nTraceback')
            continue
        if folder.name == 'killed' and not (folder / 'once').exists():
            (folder / 'once').touch()
            os.kill(os.getpid(), signal.SIGKILL)
        result = dict(scores=dict(Dice=80), metric='Dice', seconds=5)
        (folder / 'result.json').write_text(json.dumps(result))
"""


def test_a_kill_costs_one_run(tmp_path, capsys):
    """And an error costs its own."""
    (tmp_path / 'tool.py').write_text(TOOL)
    runs = [planned(tmp_path / name) for name in ('first', 'bad', 'killed', 'last')]
    trials = Trials(tmp_path / 'tool.py', runs_per_process=4)
    assert trials.run_missing(runs) == runs[1:]
    said = capsys.readouterr().out
    assert '[1/4] kvasir LoRA seed 0: Dice 80.00, 5 s' in said
    assert 'FAILED: CUDA is out of memory; ' in said and 'its process ended with -9' in said
    assert trials.run_missing(runs) == [runs[1]]
    assert '4 runs, 1 of them finished before' in capsys.readouterr().out
