"""Scores of several test sets."""

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

from mmsam_peft.evaluation import BinaryMetric, PerSetMetric


def sample(path: str, pred: list[int], label: list[int]) -> dict:
    return dict(
        img_path=path,
        pred_sem_seg=dict(data=torch.tensor([[pred]])),
        gt_sem_seg=dict(data=torch.tensor([[label]])),
    )


SAMPLES = [
    sample('data/A/1.png', [1, 1, 0, 0], [1, 0, 0, 0]),
    sample('data/AB/2.png', [1, 1, 0, 0], [1, 1, 0, 0]),
    sample('data/A/3.png', [1, 1, 1, 0], [1, 0, 0, 0]),
    sample('data/A/4.png', [0, 0, 0, 0], [255, 255, 255, 255]),
]


def scores(metrics, samples: list[dict], sets: dict) -> dict[str, float]:
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        evaluator = Evaluator(dict(type='PerSetMetric', metrics=metrics))
    evaluator.dataset_meta = dict(classes=('background', 'object'), sets=sets)
    evaluator.process(samples, {})
    return evaluator.evaluate(len(samples))


def test_each_set_has_the_scores_of_its_own_images():
    found = scores(dict(type='BinaryMetric'), SAMPLES, dict(A='data/A', B='data/AB'))
    for name, samples in dict(A=[SAMPLES[0], *SAMPLES[2:]], B=[SAMPLES[1]]).items():
        alone = BinaryMetric()
        alone.process({}, samples)
        for key, value in alone.evaluate(len(samples)).items():
            assert found[f'{name}/{key}'] == value
    assert found['A/IoU'] == pytest.approx(100 * (1 / 2 + 1 / 3) / 2) and found['B/IoU'] == 100


def test_images_of_no_set_are_refused():
    with pytest.raises(ValueError, match='data/AB/2.png is in none of the test sets'):
        scores([dict(type='BinaryMetric')], SAMPLES, dict(A='data/A'))
    with pytest.raises(ValueError, match='in none of the test sets {}'):
        scores(dict(type='BinaryMetric'), SAMPLES, {})


def test_prefixes_stay():
    metrics = [dict(type='BinaryMetric', prefix='b')]
    assert 'A/b/IoU' in scores(metrics, SAMPLES[:1], dict(A='data/A'))
    assert PerSetMetric.default_prefix == ''
