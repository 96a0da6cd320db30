import json

import pytest
import torch
from mmengine.config import Config

from mmsam_peft.analysis import trials
from mmsam_peft.analysis.plan import Run
from mmsam_peft.analysis.trials import Trials, find_weights, measured


@pytest.fixture
def run(tmp_path) -> Run:
    return Run('LoRA', 0, tmp_path, Config(), dict(metric='Dice'))


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
    run = Run('LoRA', 0, tmp_path, Config(), dict(metric='depth/RErr'))
    for file in ('adapter_last.safetensors', 'best_seg_mIoU_epoch_1.pth', name):
        (tmp_path / file).touch()
    assert find_weights(run) == tmp_path / name


def log(run: Run, name: str, *lines: dict) -> None:
    path = run.folder / name / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, lines)))


def test_time_and_memory_over_all_attempts(run):
    attempts = [
        dict(seconds=10.5, resident_bytes=None, shared=True, finished=False),
        dict(seconds=20.0, resident_bytes=5000, shared=False, finished=True),
    ]
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
    lost = measured(run, [dict(attempts[0], seconds=None), attempts[1]])
    assert lost['seconds'] is None and 'killed' in lost['seconds_note']
    assert (lost['peak_memory_bytes'], lost['memory_kind']) == (300 * 2**20, 'GPU')


def test_a_score_that_is_nan_is_a_failure(run, monkeypatch, capsys):
    """It has no place in a table, and would be taken for finished."""
    run.facts['settings'] = {}
    (run.folder / 'adapter_best.safetensors').touch()
    monkeypatch.setattr(Trials, '_tool', lambda *args: None)
    monkeypatch.setattr(trials, '_scores', lambda folder: dict(Dice=float('nan'), IoU=3.0))
    assert Trials(run.folder).run_missing([run]) == [run]
    assert 'Dice of the test is NaN' in capsys.readouterr().out
    assert not run.result.exists()
