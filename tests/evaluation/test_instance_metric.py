import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement, InstanceData

from mmsam_peft.evaluation.instance_metric import ap_of_files, instance_ap

TOOL = Path(__file__).parents[2] / 'tools/analysis_tools/instance_ap.py'


def square(left, size=40, picture=100):
    mask = torch.zeros(picture, picture, dtype=torch.bool)
    mask[10 : 10 + size, left : left + size] = True
    return mask


def sample(truth, found):
    """Of (mask, label), and (mask, label, score)."""
    gt, pred = InstanceData(), InstanceData()
    gt.masks = torch.stack([one[0] for one in truth])
    gt.labels = torch.tensor([one[1] for one in truth])
    pred.masks = torch.stack([one[0] for one in found]) if found else torch.zeros(0, 100, 100)
    pred.labels = torch.tensor([one[1] for one in found])
    pred.scores = torch.tensor([one[2] for one in found])
    return BaseDataElement(gt_instances=gt, pred_instances=pred)


def score(samples):
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        evaluator = Evaluator(dict(type='InstanceAPMetric'))
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def test_by_hand():
    """IoU 1 counts at all ten thresholds, IoU 36 / 44 at those up to 0.8, a false alarm of a lower
    score costs nothing, one of a higher score halves the precision."""
    near = square(14)  # 36 of 44 columns in common with square(10)
    perfect = score([sample([(square(10), 1)], [(square(10), 1, 0.9)])])
    assert [perfect[name] for name in ('AP', 'AP50', 'AP_medium')] == pytest.approx([100] * 3)
    assert np.isnan(perfect['AP_small']) and np.isnan(perfect['AP_large'])
    assert score([sample([(square(10), 1)], [(near, 1, 0.9)])])['AP'] == pytest.approx(70)
    later = score([sample([(square(10), 1)], [(square(10), 1, 0.9), (square(60), 1, 0.1)])])
    assert later['AP'] == pytest.approx(100)
    first = score([sample([(square(10), 1)], [(square(10), 1, 0.1), (square(60), 1, 0.9)])])
    assert first['AP'] == pytest.approx(50)
    missed = score([sample([(square(10), 1)], [])])
    assert missed['AP'] == 0 and np.isnan(missed['AP_small'])


def test_classes_and_images():
    """The mean of two classes, of which one is found as the other; images are apart."""
    truth = [(square(10), 1), (square(55), 2)]
    wrong = [(square(10), 1, 0.9), (square(55), 1, 0.8)]
    assert score([sample(truth, wrong)])['AP'] == pytest.approx(50)
    swapped = [sample(truth[:1], wrong[1:]), sample([(square(55), 1)], wrong[:1])]
    assert score(swapped)['AP'] == 0


@pytest.fixture
def files(tmp_path):
    polygon = [[10, 10, 50, 10, 50, 50, 10, 50]]
    annotation = dict(id=1, image_id=7, category_id=3, segmentation=polygon, area=1600, iscrowd=0)
    truth = dict(
        images=[dict(id=7, file_name='a.png', height=100, width=100)],
        annotations=[dict(annotation, bbox=[10, 10, 40, 40])],
        categories=[dict(id=3, name='square')],
    )
    found = dict(
        images=[dict(id=1, file_name='a.png', height=100, width=100)],
        annotations=[dict(truth['annotations'][0], image_id=1, category_id=1, score=0.5)],
    )
    paths = tmp_path / 'truth.json', tmp_path / 'found.json'
    for path, content in zip(paths, (truth, found), strict=True):
        path.write_text(json.dumps(content))
    return *paths, truth, found


def test_files(files, monkeypatch, capsys):
    """Images are known by their names; classes count unless told otherwise."""
    truth, found, _, content = files
    assert ap_of_files(truth, found)['AP'] == 0
    assert ap_of_files(truth, found, by_class=False)['AP'] == pytest.approx(100)
    monkeypatch.setattr(sys, 'argv', ['instance_ap.py', str(truth), str(found), '--any-class'])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert 'AP        100.00' in capsys.readouterr().out
    content['images'][0]['file_name'] = 'b.png'
    found.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match='is of the image b.png, which .* does not have, such as a'
    ):
        ap_of_files(truth, found)
    found.write_text('[]')
    with pytest.raises(ValueError, match='expected a COCO JSON with images, annotations, categ'):
        ap_of_files(found, truth)


def test_what_cannot_be_scored(files):
    _, _, truth, found = files
    with pytest.raises(ValueError, match='the truth has no objects'):
        instance_ap(dict(truth, annotations=[]), [])
    with pytest.raises(ValueError, match='a result is of image 1, which the truth does not have'):
        instance_ap(truth, found['annotations'])
    with pytest.raises(ValueError, match='a result has no score'):
        instance_ap(truth, truth['annotations'])
