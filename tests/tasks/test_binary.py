"""Saliency and edges."""

import math

import numpy as np
import pytest
import torch

from mmsam_peft.evaluation import SaliencyMetric

from .conftest import PROTOCOLS, batch, expected, images, make, summarise

BOTH = pytest.mark.parametrize('kind', ['Saliency', 'Edges'])


@BOTH
def test_loss_against_a_loop(kind):
    output, label, valid = batch(make(kind))
    pairs = [
        (1 / (1 + math.exp(-output[b, 0, y, x])), label[b, 0, y, x].item())
        for b, y, x in zip(*np.nonzero(valid[:, 0].numpy()), strict=True)
    ]
    weight = np.mean([1 - g for _, g in pairs]) if kind == 'Saliency' else 0.95
    terms = [-weight * math.log(p) if g else -(1 - weight) * math.log(1 - p) for p, g in pairs]
    assert make(kind).loss(output, label, valid).item() == pytest.approx(np.mean(terms), rel=1e-12)


def f_curve(pairs, beta2):
    values = []
    for t in range(1, 256):
        found, right, there = (
            sum(which)
            for which in zip(
                *(
                    (level >= t, level >= t and g, g)
                    for level, g in ((round(255 * p), g == 1) for p, g in pairs)
                ),
                strict=True,
            )
        )
        precision, recall = right / max(found, 1), right / max(there, 1)
        values.append(
            100 * (1 + beta2) * precision * recall / (beta2 * precision + recall) if right else 0.0
        )
    return np.array(values)


def saliency(values):
    pairs = [(p, g) for (p,), (g,) in values]
    inter, union = (sum(test((p >= 0.5, g == 1)) for p, g in pairs) for test in (all, any))
    return dict(maxF=f_curve(pairs, 0.3), mIoU=100 * inter / union if union else 100)


def edges(values):
    pairs = [(p, g) for (p,), (g,) in values]
    loss = np.mean([-0.95 * math.log(p) if g else -0.05 * math.log(1 - p) for p, g in pairs])
    return dict(loss=loss, maxF_tolerance0=f_curve(pairs, 1))


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('share', [0.9, 0.03])
@pytest.mark.parametrize('kind, score', [('Saliency', saliency), ('Edges', edges)])
def test_metrics_against_a_loop(kind, score, protocol, share):
    task = make(kind)
    scenes = images(task, share=share, seed=3)
    assert summarise(task, scenes, protocol) == pytest.approx(
        expected(task, scenes, protocol, score), rel=1e-9
    )


def test_max_f_per_image_is_that_of_the_saliency_metric():
    task = make('Saliency')
    scenes = images(task, seed=4)
    metric = SaliencyMetric(normalize='none')
    metric.process(
        {},
        [
            {
                key: dict(data=torch.tensor(value))
                for key, value in (('seg_logits', p), ('gt_sem_seg', g))
            }
            for p, g, _ in scenes
        ],
    )
    assert summarise(task, scenes, 'per_image')['maxF'] == pytest.approx(
        metric.evaluate(len(scenes))['F_max'], rel=1e-12
    )


@pytest.mark.parametrize(
    'prediction, label, maxF, mIoU',
    [
        (0, 0, 0, 100),
        (1, 0, 0, 0),
        (0, 1, 0, 0),
        (1, 1, 100, 100),
        (0.5, 1, 100, 100),
        (0.49, 1, 100, 0),
    ],
)
def test_empty_and_full(prediction, label, maxF, mIoU):
    scene = (
        np.full((1, 2, 2), prediction, np.float32),
        np.full((1, 2, 2), label),
        np.ones((1, 2, 2), bool),
    )
    for protocol in PROTOCOLS:
        assert summarise(make('Saliency'), [scene], protocol) == pytest.approx(
            dict(maxF=maxF, mIoU=mIoU)
        )


def test_certain_and_wrong_edges_have_a_finite_loss():
    label = np.array([[[0, 1]]])
    got = summarise(
        make('Edges'), [((1 - label).astype(np.float32), label, np.ones((1, 1, 2), bool))], 'pooled'
    )
    assert got == pytest.approx(dict(loss=-math.log(1e-7) / 2, maxF_tolerance0=0), abs=1e-6)


@BOTH
@pytest.mark.parametrize('foreground', [0, 1])
def test_one_class_only(kind, foreground):
    output, label, valid = batch(make(kind), dtype=torch.float32)
    output.requires_grad_()
    loss = make(kind).loss(output, torch.full_like(label, foreground), valid)
    loss.backward()
    assert loss >= 0 and output.grad.isfinite().all()
    assert (loss == 0) == (kind == 'Saliency')  # nothing to balance


@BOTH
def test_predict_is_the_sigmoid(kind):
    output = batch(make(kind))[0]
    assert make(kind).predict(output)[2, 0, 1, 3].item() == pytest.approx(
        1 / (1 + math.exp(-output[2, 0, 1, 3]))
    )


@BOTH
@pytest.mark.parametrize('values', [(0, 255), (0, 1, 2), (0.5, 1)])
def test_bad_labels(kind, values):
    with pytest.raises(ValueError, match='expected 0 and 1, and 255 if ignored'):
        make(kind).check(np.array([values])[..., None])
    make(kind).check(np.array([[[0], [1], [255]]]))
    make(kind).check(np.array([[[False], [True]]]))


@BOTH
def test_colours_grow_brighter(kind):
    dark, grey, bright = make(kind).draw(np.array([[[0.0, 0.5, 1.0]]])).astype(int).sum(-1)[0]
    assert dark < 20 < grey < bright
    np.testing.assert_array_equal(
        make(kind).draw(np.array([[[0, 1]]])), make(kind).draw(np.array([[[0.0, 1.0]]]))
    )
