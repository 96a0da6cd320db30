import json

import pytest
import torch
from mmengine.evaluator import DumpResults
from mmseg.evaluation import IoUMetric

from mmsam_peft.evaluation import BinaryMetric, MultiTaskMetric, SaliencyMetric
from mmsam_peft.evaluation.training_checks import (
    better_of,
    check_best,
    check_binary_metrics,
    check_metrics,
)
from mmsam_peft.tasks import build_tasks

SEG, DEPTH = (
    dict(type='SemanticSegmentation', name='seg', num_classes=3),
    dict(type='Depth', name='depth'),
)
MODEL = {task.name: task for task in build_tasks([SEG, DEPTH, dict(type='Edges', name='edges')])}


@pytest.fixture
def metric(tmp_path):
    (tmp_path / 'stl.json').write_text(json.dumps(dict(seg=dict(mIoU=50), depth=dict(AErr=0.3))))
    return MultiTaskMetric([SEG, DEPTH], baseline=tmp_path / 'stl.json')


def test_what_fits(metric):
    """A metric may leave tasks out, and 'auto' is MMEngine's first of all."""
    best = {'seg/mIoU': 'greater', 'depth/AErr': 'less', 'Delta_b/stl': 'greater', 'auto': None}
    assert list(check_metrics([metric], MODEL, best)) == ['seg', 'depth']
    assert check_metrics([metric], MODEL, {}).keys() == {'seg', 'depth'}
    assert list(
        check_metrics(
            [MultiTaskMetric([DEPTH], prefix='val')], MODEL, {'val/depth/delta1': 'greater'}
        )
    ) == ['depth']


def test_other_metrics_may_give_anything(metric, tmp_path):
    other = DumpResults(str(tmp_path / 'a.pkl'))
    assert check_metrics([other], MODEL, {'speed': 'greater'}) == {}
    assert list(check_metrics([metric, other], MODEL, {'speed': 'greater'})) == ['seg', 'depth']
    with pytest.raises(ValueError, match="rule='greater' for save_best='depth/AErr'"):
        check_metrics([metric, other], MODEL, {'depth/AErr': 'greater'})


@pytest.mark.parametrize(
    'tasks, message',
    [
        (
            [SEG, dict(DEPTH, name='far')],
            r"asked for Depth 'far', which the model does not predict: it has Sem.*, Depth",
        ),
        (
            [dict(SEG, num_classes=4)],
            r"'seg' of 4 channels, the model predicts SemanticSegmentation 'seg' of 3",
        ),
        (
            [dict(type='InverseDepth', name='depth')],
            "InverseDepth 'depth' of 1 channels, the model predicts Depth 'depth' of 1",
        ),
    ],
)
def test_tasks_that_are_not_the_models(tasks, message):
    with pytest.raises(ValueError, match=message):
        check_metrics([MultiTaskMetric(tasks)], MODEL, {})


@pytest.mark.parametrize(
    'name, rule, message',
    [
        (
            'edges/loss',
            'less',
            "save_best='edges/loss', but validation gives only seg/mIoU, seg/PixAcc, depth/AErr",
        ),
        ('seg/AErr', 'less', "save_best='seg/AErr', but"),
        ('mIoU', 'greater', "save_best='mIoU', but"),
        (
            'Delta_b/stl',
            'less',
            "of which higher is better: the worst checkpoint would be kept. Set rule='greater'",
        ),
        (
            'depth/RMSE',
            'greater',
            "rule='greater' for save_best='depth/RMSE', of which lower is better",
        ),
    ],
)
def test_what_the_best_checkpoint_is_chosen_by(metric, name, rule, message):
    with pytest.raises(ValueError, match=message):
        check_metrics([metric], MODEL, {name: rule})


@pytest.mark.parametrize(
    'metrics, best',
    [
        ([BinaryMetric()], {'Dice': 'greater', 'BER': 'less'}),
        ([SaliencyMetric(), BinaryMetric(prefix='mask')], {'MAE': 'less', 'mask/IoU': 'greater'}),
        (
            [IoUMetric(iou_metrics=['mIoU', 'mFscore'])],
            {'mIoU': 'greater', 'mRecall': 'greater', 'auto': None},
        ),
        ([BinaryMetric()], {'auto': 'greater'}),
    ],
)
def test_what_the_best_of_one_task_is_chosen_by(metrics, best):
    check_best(metrics, best)


@pytest.mark.parametrize(
    'metric, name, rule, message',
    [
        (
            BinaryMetric(),
            'mIoU',
            'greater',
            "save_best='mIoU', but validation gives only Dice, IoU, Dice_pooled",
        ),
        (
            BinaryMetric(),
            'BER',
            'greater',
            "rule='greater' for save_best='BER', of which lower is better.*rule='less'",
        ),
        (BinaryMetric(prefix='val'), 'Dice', 'greater', 'gives only val/Dice'),
        (SaliencyMetric(), 'MAE', 'greater', "rule='greater' for save_best='MAE'"),
        (IoUMetric(iou_metrics=['mIoU']), 'mDice', 'greater', 'gives only aAcc, mIoU, mAcc'),
        (
            IoUMetric(iou_metrics=['mIoU', 'Dice']),
            'mIoU',
            'greater',
            'no Dice: it knows mIoU, mDice, mFscore',
        ),
        (
            BinaryMetric(),
            'auto',
            None,
            "takes 'Dice', of which MMEngine does not know.*save_best='Dice' and rule='greater'",
        ),
        (
            BinaryMetric(),
            'auto',
            'less',
            "rule='less' for save_best='auto', which takes 'Dice', of which higher",
        ),
    ],
)
def test_what_the_best_of_one_task_cannot_be_chosen_by(metric, name, rule, message):
    with pytest.raises(ValueError, match=message):
        check_best([metric], {name: rule})


def test_names_are_those_that_the_metrics_give():
    """Of a real evaluation."""
    label = torch.eye(8, dtype=torch.long)[None]
    sample = dict(
        gt_sem_seg=dict(data=label),
        pred_sem_seg=dict(data=label),
        seg_logits=dict(data=label.float()),
    )
    for metric in (
        BinaryMetric(),
        SaliencyMetric(prefix='s'),
        IoUMetric(iou_metrics=['mIoU', 'mDice', 'mFscore']),
    ):
        metric.dataset_meta = dict(classes=('a', 'b'))
        metric.process({}, [sample])
        assert metric.evaluate(1).keys() == better_of(metric).keys()


def test_metrics_of_two_classes():
    check_binary_metrics([BinaryMetric(), SaliencyMetric()], 2)
    check_binary_metrics([BinaryMetric(foreground=3), IoUMetric()], 4)
    for metric in (BinaryMetric(), SaliencyMetric()):
        with pytest.raises(
            ValueError,
            match=f'{type(metric).__name__} scores one object .* the model has 4 classes',
        ):
            check_binary_metrics([metric], 4)
    with pytest.raises(ValueError, match='foreground=4, but the model has the classes 0 to 3'):
        check_binary_metrics([BinaryMetric(foreground=4)], 4)


@pytest.mark.parametrize('kind', [BinaryMetric, SaliencyMetric])
def test_labels_of_other_classes_are_no_background(kind):
    label = torch.tensor([[[0, 1, 2, 255]]])
    sample = dict(
        gt_sem_seg=dict(data=label),
        pred_sem_seg=dict(data=label * 0),
        seg_logits=dict(data=label * 0.0),
        img_path='img/a.png',
        seg_map_path='ann/a.png',
    )
    with pytest.raises(
        ValueError, match=r'ann/a.png: got the labels \[2\] at 1 pixels, expected 0, 1 and 255'
    ):
        kind().process({}, [sample])
    BinaryMetric(foreground=2).process({}, [sample])
