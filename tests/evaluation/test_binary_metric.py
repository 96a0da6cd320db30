import math

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmsam_peft.evaluation import BinaryMetric


def sample(pred, label):
    return dict(
        pred_sem_seg=dict(data=torch.as_tensor(pred)[None]),
        gt_sem_seg=dict(data=torch.as_tensor(label)[None]),
    )


def score(samples, **settings):
    metric = BinaryMetric(**settings)
    metric.process({}, samples)
    return metric.evaluate(len(samples))


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    sizes = (4, 7), (9, 5), (12, 12)
    return [(rng.integers(0, 2, s), rng.choice([0, 1, 255], s, p=[0.5, 0.3, 0.2])) for s in sizes]


def sets(pred, label):
    """Foreground pixels predicted and labelled, and all valid pixels, as sets of indices."""
    valid = {i for i, value in np.ndenumerate(label) if value != 255}
    return {i for i in valid if pred[i] == 1}, {i for i in valid if label[i] == 1}, valid


def test_per_image_and_pooled_against_sets(images):
    got = score([sample(p, y) for p, y in images])
    a, b, valid = zip(*(sets(p, y) for p, y in images), strict=True)
    inter = [len(x & y) for x, y in zip(a, b, strict=True)]
    union = [len(x | y) for x, y in zip(a, b, strict=True)]
    size = [len(x) + len(y) for x, y in zip(a, b, strict=True)]
    true_negative = sum(len(v - x - y) for v, x, y in zip(valid, a, b, strict=True))
    negative = sum(len(v - y) for v, y in zip(valid, b, strict=True))
    assert got == pytest.approx(
        dict(
            Dice=100 * np.mean([2 * i / s for i, s in zip(inter, size, strict=True)]),
            IoU=100 * np.mean([i / u for i, u in zip(inter, union, strict=True)]),
            Dice_pooled=100 * 2 * sum(inter) / sum(size),
            IoU_pooled=100 * sum(inter) / sum(union),
            BER=100 * (1 - (sum(inter) / sum(map(len, b)) + true_negative / negative) / 2),
            BER_per_image=100
            * np.mean(
                [
                    1 - (len(x & y) / len(y) + len(v - x - y) / len(v - y)) / 2
                    for x, y, v in zip(a, b, valid, strict=True)
                ]
            ),
        ),
        rel=1e-12,
    )
    assert abs(got['Dice'] - got['Dice_pooled']) > 0.1


def test_numbers_by_hand():
    got = score([sample([[1.0, 1.0, 0.0, 0.0]], [[1, 0, 0, 0]]), sample([[1.0] * 8], [[1] * 8])])
    assert got == pytest.approx(
        dict(
            Dice=100 * (2 / 3 + 1) / 2,
            IoU=75,
            Dice_pooled=100 * 18 / 19,
            IoU_pooled=90,
            BER=100 * (1 - (1 + 2 / 3) / 2),
            BER_per_image=100 * (1 - (1 + 2 / 3) / 2) / 2,
        )
    )


@pytest.mark.parametrize('pred, label, dice', [(0, 0, 100), (1, 0, 0), (0, 1, 0), (1, 1, 100)])
def test_empty_and_full(pred, label, dice):
    got = score([sample(torch.full((3, 3), float(pred)), torch.full((3, 3), label))])
    assert got['Dice'] == got['IoU'] == got['Dice_pooled'] == got['IoU_pooled'] == dice
    assert math.isnan(got['BER'])


@pytest.mark.parametrize(
    'pred, label, ber',
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),
        ([1, 0, 0, 0], [0, 0, 0, 0], 100 - (75 + 0) / 2),
        ([1, 1, 1, 0], [1, 1, 1, 1], 100 - (75 + 0) / 2),
        ([1, 1, 0, 0], [1, 1, 1, 0], 100 - (200 / 3 + 100) / 2),
    ],
)
def test_ber_of_an_image_that_lacks_a_class(pred, label, ber):
    """As the mean recall of torchmetrics: a class that an image lacks is wrong once predicted."""
    assert score([sample([pred], [label])])['BER_per_image'] == pytest.approx(ber)


@pytest.mark.parametrize('empty, expected', [('one', 75), ('zero', 25), ('skip', 50)])
def test_conventions_for_empty_masks(empty, expected):
    """Two images with nothing to find and nothing found beside two of IoU 0 and 1."""
    void = sample(np.zeros((2, 2)), np.zeros((2, 2), int))
    hit = sample(np.ones((2, 2)), np.ones((2, 2), int))
    miss = sample(np.zeros((2, 2)), np.ones((2, 2), int))
    got = score([void, void, hit, miss], empty=empty)
    assert got['Dice'] == got['IoU'] == expected and got['IoU_pooled'] == 50
    assert math.isnan(score([void], empty='skip')['Dice'])
    with pytest.raises(ValueError, match="empty='two'.*'one', 'zero', 'skip'"):
        BinaryMetric(empty='two')


def test_error_rate_by_a_threshold_of_its_own():
    probability = torch.tensor([[[0.45, 0.495, 0.6, 0.2]]])
    one = sample([[0.0, 0.0, 1.0, 0.0]], [[0, 1, 1, 0]])
    one |= dict(seg_logits=dict(data=probability))
    plain, low = score([one]), score([one], ber_threshold=125 / 255)
    assert plain['IoU'] == low['IoU'] == low['IoU_pooled'] == 50
    assert plain['BER'] == plain['BER_per_image'] == 25 and low['BER'] == low['BER_per_image'] == 0
    with pytest.raises(ValueError, match='ber_threshold=0.4.*foreground=2'):
        BinaryMetric(foreground=2, ber_threshold=0.4)


def test_ignored_pixels_and_void_images_take_no_part(images):
    flipped = [(np.where(y == 255, 1 - p, p), y) for p, y in images]
    void = sample(np.ones((2, 2)), np.full((2, 2), 255))
    assert score([sample(p, y) for p, y in images]) == score(
        [sample(p, y) for p, y in flipped] + [void]
    )


def test_other_foreground():
    pred, label = [[2, 2, 0, 1]], [[2, 0, 0, 2]]
    assert score([sample(pred, label)], foreground=2)['IoU'] == pytest.approx(100 / 3)
    inverted = score([sample(pred, label)], foreground=0)
    assert inverted['IoU'] == pytest.approx(50)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r'size \(2, 3\), its mask \(4, 6\)'):
        score([sample(np.zeros((2, 3)), np.zeros((4, 6), int))])


def test_evaluator_drops_padded_samples(images):
    init_default_scope('mmsam_peft')
    samples = [
        SegDataSample(
            pred_sem_seg=PixelData(data=torch.as_tensor(p)[None]),
            gt_sem_seg=PixelData(data=torch.as_tensor(y)[None]),
        )
        for p, y in images
    ]
    evaluator = Evaluator([dict(type='BinaryMetric')])
    for chunk in samples[:1], samples[1:], samples[:1]:
        evaluator.process(data_samples=chunk, data_batch={})
    assert evaluator.evaluate(len(samples)) == score([sample(p, y) for p, y in images])
