import math

import numpy as np
import pytest
import torch

from mmsam_peft.tasks.base import GREY
from mmsam_peft.tasks.semantic import HumanParts, SemanticSegmentation

from .conftest import PROTOCOLS, batch, expected, images, make, summarise


def test_cross_entropy_against_a_loop():
    output, label, valid = batch(make('SemanticSegmentation'))
    terms = []
    for b, y, x in zip(*np.nonzero(valid[:, 0].numpy()), strict=True):
        logits = output[b, :, y, x].tolist()
        terms.append(math.log(sum(map(math.exp, logits))) - logits[label[b, 0, y, x]])
    assert make('SemanticSegmentation').loss(output, label, valid).item() == pytest.approx(
        np.mean(terms), rel=1e-12
    )


def score(pixels):
    pairs = [(int(p), int(g)) for (p,), (g,) in pixels]
    ious = []
    for k in range(5):
        inter, union = (sum(test((p == k, g == k)) for p, g in pairs) for test in (all, any))
        ious += [inter / union] if union else []
    return dict(mIoU=100 * np.mean(ious), PixAcc=100 * np.mean([p == g for p, g in pairs]))


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('share', [0.9, 0.03])
def test_metrics_against_a_loop(protocol, share):
    task = make('SemanticSegmentation')
    scenes = images(task, share=share, seed=3)
    assert summarise(task, scenes, protocol) == pytest.approx(
        expected(task, scenes, protocol, score), rel=1e-12
    )


def test_classes_that_never_occur_are_left_out():
    task = make('SemanticSegmentation')
    prediction, label = np.array([[[0, 0, 1, 2]]]), np.array([[[0, 1, 1, 1]]])
    got = task.summarise([task.measure(prediction, label, np.ones((1, 1, 4), bool))], 'pooled')
    assert got == pytest.approx(dict(mIoU=100 * (1 / 2 + 1 / 3 + 0) / 3, PixAcc=50))


def test_one_valid_pixel():
    task = make('SemanticSegmentation')
    valid = np.zeros((1, 2, 2), bool)
    valid[0, 1, 1] = True
    label = np.array([[[255, 255], [255, 4]]])
    assert task.summarise([task.measure(np.full((1, 2, 2), 4), label, valid)], 'per_image') == dict(
        mIoU=100, PixAcc=100
    )
    assert task.summarise([task.measure(np.full((1, 2, 2), 3), label, valid)], 'pooled') == dict(
        mIoU=0, PixAcc=0
    )


def test_predict_is_the_largest():
    output = batch(make('SemanticSegmentation'))[0]
    assert make('SemanticSegmentation').predict(output)[1, 0, 2, 3] == max(
        range(5), key=lambda k: output[1, k, 2, 3]
    )


@pytest.mark.parametrize('value', [5, -1, 254])
def test_values_outside_the_classes(value):
    label = np.zeros((3, 3, 1), np.int64)
    label[1, 1] = value
    with pytest.raises(
        ValueError,
        match=rf"Segmentation 'it': the label has values \[{value}\], expected 0 to 4, and 255",
    ):
        make('SemanticSegmentation').check(label)


def test_bad_arguments():
    with pytest.raises(ValueError, match='num_classes=1, expected 2 to 255'):
        SemanticSegmentation('seg', 1)
    with pytest.raises(ValueError, match='num_classes=3, but classes lists 2'):
        SemanticSegmentation('seg', 3, classes=['a', 'b'])
    with pytest.raises(ValueError, match='num_classes=3, but palette lists 1'):
        SemanticSegmentation('seg', 3, palette=[(0, 0, 0)])


def test_palette():
    task = SemanticSegmentation('seg', 3, palette=[(1, 2, 3), (4, 5, 6), (7, 8, 9)])
    assert task.draw(np.array([[[2, 0, 255]]])).tolist() == [
        [[7, 8, 9], [1, 2, 3], [180, 180, 180]]
    ]
    colours = np.concatenate([SemanticSegmentation('seg', 21).palette, [GREY]])
    apart = np.abs(colours[:, None] - colours).sum(-1) + 1000 * np.eye(22)
    assert colours.min() >= 0 and colours.max() <= 255 and apart.min() > 30


def test_human_parts():
    task = HumanParts('parts')
    assert task.channels == 7 and len(task.classes) == 7 and task.classes[0] == 'background'
    assert task.draw(torch.zeros(1, 1, 1, dtype=torch.int64).numpy()).tolist() == [[[0, 0, 0]]]
    assert HumanParts('parts', num_classes=2, classes=None).channels == 2
