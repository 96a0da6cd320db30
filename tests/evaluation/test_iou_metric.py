"""Each class' IoU among the results, and results of two processes with unequal shares."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmsam_peft.evaluation import IoUMetric
from mmsam_peft.registry import METRICS


def test_iou_of_each_class():
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 3, (8, 9)), rng.choice([0, 1, 2, 255], (8, 9))) for _ in range(3)]
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        evaluator = Evaluator([dict(type='IoUMetric', iou_metrics=['mIoU'])])
    assert isinstance(evaluator.metrics[0], IoUMetric) and METRICS.get('IoUMetric') is IoUMetric
    evaluator.dataset_meta = dict(classes=('road', 'car', 'tree', 'sky'))
    for pred, label in pairs:
        data = {
            'pred_sem_seg': PixelData(data=torch.from_numpy(pred)[None]),
            'gt_sem_seg': PixelData(data=torch.from_numpy(label)[None]),
        }
        evaluator.process([SegDataSample(**data)])
    got = evaluator.evaluate(3)
    pred, label = (
        np.concatenate([one.ravel() for one in side]) for side in zip(*pairs, strict=True)
    )
    pred, label = pred[label != 255], label[label != 255]
    each = [
        100 * ((pred == k) & (label == k)).sum() / ((pred == k) | (label == k)).sum()
        for k in range(3)
    ]
    expected = dict(zip(('IoU/road', 'IoU/car', 'IoU/tree'), each, strict=True))
    found = {name: value for name, value in got.items() if name.startswith('IoU/')}
    assert found == pytest.approx(expected, abs=0.0051)  # two digits, as MMSegmentation's mIoU
    assert all(type(value) is float for value in got.values()), got  # kept by JSON
    assert got['mIoU'] == pytest.approx(np.mean(each), abs=0.0051)
