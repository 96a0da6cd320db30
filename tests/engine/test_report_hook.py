"""The report of real, tiny trainings."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsam_peft.apis.launch import add_hooks_relied_on
from mmsam_peft.engine.hooks import ReportHook
from mmsam_peft.engine.hooks.stop_hook import StopHook
from mmsam_peft.engine.stop_signals import StopSignals
from mmsam_peft.evaluation.record import read_record

from ..visualization.report.test_page import check_alone

PICTURES = {'default_hooks.visualization': dict(type='PanelHook', interval=1)}


def dices(root: Path, runner) -> list[float]:
    """Of the validation images, from the model itself and the mask files."""
    runner.model.eval()
    found = []
    for batch in runner.val_dataloader:
        (sample,) = runner.model.val_step(batch)
        a = sample.pred_sem_seg.data[0].cpu().numpy() == 1
        b = np.asarray(Image.open(root / 'ann_dir/val' / Path(sample.img_path).name)) == 1
        found.append(100 * 2 * (a & b).sum() / max(a.sum() + b.sum(), 1))
    return found


def test_a_training_leaves_its_report(root, make_runner):
    """The scores are those of the last validation, which is kept as nothing chooses a best one."""
    runner = make_runner({'default_hooks.checkpoint.save_best': None, **PICTURES})
    runner.train()
    work = root / 'work'
    record = read_record(work / 'report/val.npz')
    assert record.counted[0].of_images['Dice'] == pytest.approx(dices(root, runner), abs=1e-6)
    assert record.info['iteration'] == 12 and record.curve.shape == (51,)
    facts = json.loads((work / 'report/run.json').read_text())
    assert facts['ended'] == 'finished' and facts['settings']['length'] == '4 epochs'
    masks = [np.asarray(Image.open(path)) for path in (root / 'ann_dir/train').glob('*.png')]
    assert facts['data']['train'] == dict(
        images=6, sizes=[[64, 64, 6]], different_sizes=1, smallest=[64, 64], largest=[64, 64],
        classes={'': {'background': int(sum((one == 0).sum() for one in masks)),
                      'disc': int(sum((one == 1).sum() for one in masks))}},
        ignored={'': 0},
    )  # fmt: skip
    text = check_alone((work / 'report.html').read_text()).text
    assert 'Dice in validation' in text and 'LoRA' in text and '6 images, 64 × 64 pixels' in text
    picture = np.asarray(Image.open(next(work.glob('*/vis_data/vis_image/val_0_12.png'))))
    shown = np.abs(picture.astype(int) - (0, 255, 0)).max(-1) == 0
    assert picture.shape[1] == 4 * 10 + 3 * 150 and shown.any()  # borders of the disc


def test_the_validation_of_the_best_checkpoint_is_kept(make_runner, root):
    runner = make_runner({'default_hooks.checkpoint.max_keep_ckpts': 1})
    runner.train()
    best = runner.message_hub.get_info('best_score')
    record = read_record(root / 'work/report/val.npz')
    assert record.info['scores']['Dice'] == best and record.info['main'] == 'Dice'
    assert f'epoch_{record.info["epoch"]}' in runner.message_hub.get_info('best_ckpt')


def test_a_training_that_is_stopped_and_one_that_goes_on(make_runner, root):
    signals = StopSignals()
    runner = make_runner()
    runner.register_hook(StopHook(signals))
    call = runner.call_hook

    def ask(name: str, **kwargs) -> None:
        call(name, **kwargs)
        if name == 'after_train_epoch':
            signals.asked = 2

    runner.call_hook = ask
    with pytest.raises(SystemExit):
        runner.train()
    page = (root / 'work/report.html').read_text()
    assert 'It was stopped before its end; the same command with --resume' in page
    first = json.loads((root / 'work/report/run.json').read_text())['runs']

    runner = make_runner({'resume': True})
    runner._timestamp = f'{runner.timestamp}_2'
    runner.train()
    facts = json.loads((root / 'work/report/run.json').read_text())
    assert facts['ended'] == 'finished' and facts['runs'] == [*first, runner.timestamp]
    assert 'stopped before its end' not in (root / 'work/report.html').read_text()


def test_without_validation_and_where_it_cannot_be_written(make_runner, root, monkeypatch):
    off = dict.fromkeys(('val_dataloader', 'val_cfg', 'val_evaluator'))
    make_runner(off).train()
    assert 'This training had no validation.' in (root / 'work/report.html').read_text()

    def fail(folder: str) -> None:
        raise OSError('the disk is full')

    monkeypatch.setattr('mmsam_peft.engine.hooks.report_hook.write_report', fail)
    runner = make_runner({'train_cfg.max_epochs': 1})
    told = []
    monkeypatch.setattr(runner.logger, 'warning', told.append)
    runner.train()
    assert any('The report could not be written (OSError: the disk is full)' in m for m in told)


def test_the_tools_add_it(tiny):
    config = tiny()
    config.custom_hooks = []
    add_hooks_relied_on(config)
    assert ReportHook.__name__ in [hook['type'] for hook in config.custom_hooks]
