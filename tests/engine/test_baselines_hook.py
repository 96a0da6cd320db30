"""What costs no training is scored before it begins, and training is as without."""

import json
from copy import deepcopy

import numpy as np
import pytest
from PIL import Image

from mmsam_peft.engine.hooks.baselines_hook import complaint

from .test_finite_hook import log
from .test_resume import SHORT, same

HOOK = {'default_hooks.baselines': dict(type='BaselinesHook')}
BEST = {
    'default_hooks.checkpoint': dict(
        type='CheckpointHook', interval=1, save_best='Dice', rule='greater'
    )
}


def test_scores_and_changes_nothing(make_runner, root):
    """Everything called the object: Dice of an image with the share s of it is 2 s / (1 + s)."""
    plain = make_runner(deepcopy({**SHORT, **BEST, 'work_dir': str(root / 'plain')}))
    plain.train()
    options = {**SHORT, **BEST, **HOOK, 'optim_wrapper.optimizer.lr': 1e-12}
    runner = make_runner(deepcopy({**SHORT, **BEST, **HOOK}))
    runner.train()
    assert same(plain, runner)
    masks = [np.asarray(Image.open(path)) for path in sorted((root / 'ann_dir/val').glob('*'))]
    shares = np.array([mask.mean() for mask in masks])
    found = json.loads((root / 'work' / 'baselines.json').read_text())
    assert found['constant_class'] == 'disc'
    assert found['constant']['Dice'] == pytest.approx(100 * (2 * shares / (1 + shares)).mean())
    assert found['constant']['IoU'] == pytest.approx(100 * shares.mean())

    stuck = make_runner(deepcopy({**options, 'work_dir': str(root / 'stuck')}))
    stuck.train()
    assert 'Training has brought nothing' in log(root / 'stuck')
    scores = json.loads((root / 'stuck' / 'baselines.json').read_text())
    assert scores['untuned'] == found['untuned']
    best = stuck.message_hub.get_info('best_score')
    assert best == pytest.approx(scores['untuned']['Dice'])


def test_the_better_one_counts():
    scores = dict(
        untuned=dict(Dice=20.0, BER=40.0), constant=dict(Dice=30.0, BER=50.0), constant_class='road'
    )
    assert complaint(scores, 'Dice', 'greater', 30.1) is None
    text = complaint(scores, 'Dice', 'greater', 25.0)
    assert "'road'" in text and 'before training' not in text
    assert 'before training' in complaint(scores, 'BER', 'less', 45.0)
    assert complaint(scores, 'BER', 'less', 39.0) is None
    assert complaint(dict(untuned=dict(mIoU=1.0)), 'Dice', 'greater', 0.5) is None
