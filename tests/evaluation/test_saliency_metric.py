import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from safetensors import safe_open

from mmsam_peft.evaluation import SaliencyMetric
from mmsam_peft.evaluation.saliency_metric import image_measures

GOLDEN = Path(__file__).parents[1] / 'data' / 'saliency_metrics.safetensors'
NAMES = ['S', 'wF', 'E_mean', 'E_max', 'E_adp', 'F_mean', 'F_max', 'F_adp', 'MAE']


def sample(probability, label):
    return dict(
        seg_logits=dict(data=torch.as_tensor(probability, dtype=torch.float32)[None]),
        gt_sem_seg=dict(data=torch.as_tensor(label)[None]),
    )


def score(samples, **settings):
    metric = SaliencyMetric(**settings)
    metric.process({}, samples)
    return metric.evaluate(len(samples))


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [
        (rng.random(s), rng.choice([0, 1, 255], s, p=[0.5, 0.3, 0.2]))
        for s in ((14, 17), (9, 15), (22, 12))
    ]


def test_golden():
    with safe_open(GOLDEN, 'pt') as file:
        pred, gt, expected = file.get_tensor('pred'), file.get_tensor('gt'), file.metadata()
    got = score([sample(p / 255, (g > 0).long()) for p, g in zip(pred, gt, strict=True)])
    assert list(got) == NAMES
    for name, value in got.items():
        assert value / (1 if name == 'MAE' else 100) == pytest.approx(
            float(expected[name]), abs=1e-9
        ), name


def test_grey_levels_survive_every_normalisation():
    """All 256 levels of a full-range map are its thresholds, and F at each is that of ``levels >=
    t``."""
    levels = np.random.default_rng(1).permutation(256).astype(np.uint8).reshape(16, 16)
    target = levels > 100
    both = [
        image_measures(levels, target, target | True, normalize)['F_curve']
        for normalize in ('minmax', 'none')
    ]
    for curve in both:
        assert curve[101] == 1 and (np.delete(curve, 101) < 1).all()


def test_normalisation():
    probability, label = np.array([[51, 51, 102, 102]]) / 255, np.array([[0, 0, 1, 1]])
    assert score([sample(probability, label)])['MAE'] == 0
    assert score([sample(probability, label)], normalize='none')['MAE'] == pytest.approx(
        (0.2 + 0.6) / 2
    )
    constant = sample(np.full((2, 2), 0.2), np.ones((2, 2), int))
    assert score([constant])['MAE'] == pytest.approx(0.8)
    with pytest.raises(ValueError, match="'max', expected 'minmax' or 'none'"):
        SaliencyMetric(normalize='max')


@pytest.mark.parametrize('normalize', ['minmax', 'none'])
def test_ignored_pixels_and_void_images_take_no_part(images, normalize):
    rng = np.random.default_rng(2)
    changed = [
        (np.where(y == 255, rng.choice([0, 1], y.shape), p * 0.8 + 0.1), y) for p, y in images
    ]
    void = sample(np.ones((2, 2)), np.full((2, 2), 255))
    before = score([sample(p * 0.8 + 0.1, y) for p, y in images], normalize=normalize)
    assert score([sample(p, y) for p, y in changed] + [void], normalize=normalize) == before


def test_ignored_border_is_a_crop():
    rng = np.random.default_rng(3)
    probability, label = rng.random((30, 30)), np.zeros((30, 30), int)
    label[9:18, 10:20] = rng.integers(0, 2, (9, 10))
    bordered = np.full_like(label, 255)
    inner = np.s_[4:25, 5:27]
    bordered[inner] = label[inner]
    cropped = score([sample(probability[inner], label[inner])])
    assert score([sample(probability, bordered)]) == pytest.approx(cropped, abs=1e-10)


def test_two_channels_equal_their_softmax(images):
    samples = [sample(p, y) for p, y in images]
    logits = [
        s | dict(seg_logits=dict(data=torch.cat([torch.zeros_like(d), d.double().logit().float()])))
        for s in samples
        for d in [s['seg_logits']['data']]
    ]
    assert score(logits) == pytest.approx(score(samples), abs=1e-3)


@pytest.mark.parametrize('label', ['empty', 'full', 'one pixel'])
@pytest.mark.parametrize('probability', [0.0, 0.5, 1.0])
def test_extremes_are_finite_and_in_range(label, probability):
    mask = np.full((8, 9), label == 'full', dtype=int)
    mask[7, 8] = label != 'empty'
    got = score([sample(np.full((8, 9), probability), mask)])
    top = 100 * mask.size / (mask.size - 1)
    assert (
        all(0 <= value <= (top if name[0] == 'E' else 100) + 1e-9 for name, value in got.items())
        and got['MAE'] <= 1
    )
    if label != 'one pixel' and probability == (label == 'full'):
        assert got['S'] == 100 and got['MAE'] == 0


def test_perfect_and_inverted():
    label = np.random.default_rng(4).integers(0, 2, (20, 20))
    perfect, inverted = score([sample(label, label)]), score([sample(1 - label, label)])
    assert [perfect[n] for n in ('S', 'wF', 'F_max', 'F_adp', 'MAE')] == pytest.approx(
        [100, 100, 100, 100, 0]
    )
    assert [perfect[n] for n in ('E_max', 'E_adp')] == pytest.approx([100 * 400 / 399] * 2)
    assert (
        inverted['MAE'] == 1
        and inverted['S'] < 1
        and inverted['E_adp'] < 1e-9
        and inverted['F_adp'] == 0
    )


def test_evaluator_in_chunks_drops_padded_samples(images):
    init_default_scope('mmsam_peft')
    samples = [
        SegDataSample(
            seg_logits=PixelData(data=torch.as_tensor(p, dtype=torch.float32)[None]),
            gt_sem_seg=PixelData(data=torch.as_tensor(y)[None]),
        )
        for p, y in images
    ]
    evaluator = Evaluator([dict(type='SaliencyMetric', prefix='camo')])
    for chunk in samples[:2], samples[2:], samples[:1]:
        evaluator.process(data_samples=chunk, data_batch={})
    expected = score([sample(p, y) for p, y in images])
    assert evaluator.evaluate(len(samples)) == {
        f'camo/{name}': value for name, value in expected.items()
    }


def test_no_loop_over_thresholds():
    """About 700 calls of functions; a loop over 256 thresholds would make thousands."""
    rng = np.random.default_rng(5)
    levels, target = rng.integers(0, 256, (352, 352)).astype(np.uint8), np.zeros((352, 352), bool)
    target[50:200, 100:300] = True
    calls = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, argument: calls.append(event))
    try:
        image_measures(levels, target, target | True, 'minmax')
    finally:
        sys.setprofile(before)
    assert calls.count('call') + calls.count('c_call') < 1500
