import json

import pytest
from mmengine.evaluator import DumpResults

from mmsam_peft.evaluation import MultiTaskMetric
from mmsam_peft.evaluation.training_checks import check_metrics
from mmsam_peft.tasks import build_tasks

SEG, DEPTH = dict(type='SemanticSegmentation', name='seg', num_classes=3), dict(type='Depth', name='depth')
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
    assert list(check_metrics([MultiTaskMetric([DEPTH], prefix='val')], MODEL, {'val/depth/delta1': 'greater'})) == ['depth']


def test_other_metrics_may_give_anything(metric, tmp_path):
    other = DumpResults(str(tmp_path / 'a.pkl'))
    assert check_metrics([other], MODEL, {'speed': 'greater'}) == {}
    assert list(check_metrics([metric, other], MODEL, {'speed': 'greater'})) == ['seg', 'depth']
    with pytest.raises(ValueError, match="rule='greater' for save_best='depth/AErr'"):
        check_metrics([metric, other], MODEL, {'depth/AErr': 'greater'})


@pytest.mark.parametrize('tasks, message', [
    ([SEG, dict(DEPTH, name='far')], r"asked for Depth 'far', which the model does not predict: it has Sem.*, Depth"),
    ([dict(SEG, num_classes=4)], r"'seg' of 4 channels, the model predicts SemanticSegmentation 'seg' of 3"),
    ([dict(type='InverseDepth', name='depth')], "InverseDepth 'depth' of 1 channels, the model predicts Depth 'depth' of 1")])
def test_tasks_that_are_not_the_models(tasks, message):
    with pytest.raises(ValueError, match=message):
        check_metrics([MultiTaskMetric(tasks)], MODEL, {})


@pytest.mark.parametrize('name, rule, message', [
    ('edges/loss', 'less', "save_best='edges/loss', but validation gives only seg/mIoU, seg/PixAcc, depth/AErr"),
    ('seg/AErr', 'less', "save_best='seg/AErr', but"), ('mIoU', 'greater', "save_best='mIoU', but"),
    ('Delta_b/stl', 'less', "of which higher is better: the worst checkpoint would be kept. Set rule='greater'"),
    ('depth/RMSE', 'greater', "rule='greater' for save_best='depth/RMSE', of which lower is better")])
def test_what_the_best_checkpoint_is_chosen_by(metric, name, rule, message):
    with pytest.raises(ValueError, match=message):
        check_metrics([metric], MODEL, {name: rule})
