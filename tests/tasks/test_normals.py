import math

import numpy as np
import pytest
import torch

from .conftest import PROTOCOLS, batch, expected, images, make, summarise


def cosine(p, g):
    length = math.sqrt(sum(x * x for x in p)) * math.sqrt(sum(x * x for x in g))
    return sum(x * y for x, y in zip(p, g, strict=True)) / length if length else 0.0


def test_loss_against_a_loop():
    output, label, valid = batch(make('SurfaceNormals'))
    terms = [
        cosine(output[b, :, y, x].tolist(), label[b, :, y, x].tolist())
        for b, y, x in zip(*np.nonzero(valid[:, 0].numpy()), strict=True)
    ]
    assert make('SurfaceNormals').loss(output, label, valid).item() == pytest.approx(
        1 - np.mean(terms), rel=1e-12
    )


@pytest.mark.parametrize('length', [0.0, 1e-30, 1e-8])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_outputs_without_direction(length, dtype):
    task = make('SurfaceNormals')
    output, label, valid = batch(task, dtype=dtype)
    output[:, :, ::2] *= 0
    output[:, :1, ::2] += length
    output.requires_grad_()
    loss = task.loss(output, label, valid)
    loss.backward()
    assert loss.isfinite() and output.grad.isfinite().all()
    assert task.predict(output).isfinite().all()


def score(values):
    angles = [math.degrees(math.acos(max(-1, min(1, cosine(p, g))))) for p, g in values]
    shares = {
        name: 100 * np.mean([angle < float(name) for angle in angles])
        for name in ('11.25', '22.5', '30')
    }
    return dict(mean=np.mean(angles), median=np.median(angles), **shares)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('share', [0.9, 0.03])
def test_metrics_against_a_loop(protocol, share):
    task = make('SurfaceNormals')
    rng = np.random.default_rng(5)
    scenes = [
        (g + p * rng.uniform(0, 1, p.shape[1:]), g, v) for p, g, v in images(task, 6, 3, share)
    ]  # all angles occur
    got, reference = summarise(task, scenes, protocol), expected(task, scenes, protocol, score)
    assert got.pop('median') == pytest.approx(reference.pop('median'), abs=0.005)
    assert got == pytest.approx(reference, rel=1e-9)
    assert share < 0.1 or 0 < got['11.25'] < got['22.5'] < got['30'] < 100


@pytest.mark.parametrize('angle', [0, 11.2, 45, 90, 180])
def test_one_valid_pixel_of_known_angle(angle):
    radians = math.radians(angle)
    prediction = np.array([0, math.sin(radians), math.cos(radians)]).reshape(3, 1, 1)
    label = np.array([0.0, 0, 1]).reshape(3, 1, 1)
    got = summarise(
        make('SurfaceNormals'), [(prediction, label, np.ones((1, 1, 1), bool))], 'per_image'
    )
    assert got['mean'] == pytest.approx(angle, abs=1e-5) and got['median'] == pytest.approx(
        angle, abs=0.0051
    )
    assert [got[name] for name in ('11.25', '22.5', '30')] == [
        100 * (angle < bound) for bound in (11.25, 22.5, 30)
    ]


def test_no_direction_is_90_degrees():
    label = np.array([0.0, 0, 1]).reshape(3, 1, 1)
    assert (
        summarise(make('SurfaceNormals'), [(0 * label, label, np.ones((1, 1, 1), bool))], 'pooled')[
            'mean'
        ]
        == 90
    )


def test_float32_vectors_that_agree_have_no_angle():
    label = images(make('SurfaceNormals'), 1, share=1)[0][1]
    got = summarise(
        make('SurfaceNormals'),
        [((1 + 1e-6) * label, label, np.ones((1, *label.shape[1:]), bool))],
        'pooled',
    )
    assert got['mean'] < 1e-4


def test_predictions_have_length_one():
    output = batch(make('SurfaceNormals'), dtype=torch.float32)[0]
    predicted = make('SurfaceNormals').predict(output)
    torch.testing.assert_close(predicted.norm(dim=1), torch.ones(3, 6, 7))
    torch.testing.assert_close(predicted * output.norm(dim=1, keepdim=True), output)


def test_flip_negates_x_only():
    label = np.array([[[0.6, 0.8, 0], [0, 0, 0], [np.nan, 0, 1]]], np.float32)
    flipped = make('SurfaceNormals').flip(label)
    assert flipped.dtype == np.float32
    np.testing.assert_array_equal(
        flipped, [[[-label[0, 0, 0], label[0, 0, 1], 0], [0, 0, 0], [np.nan, 0, 1]]]
    )
    np.testing.assert_array_equal(make('SurfaceNormals').zoom(label, 2.0), label)


def test_valid():
    label = np.array([[[0, 0, 1], [0, 0, 0], [np.nan, 0, 1], [np.inf, 0, 0], [1, -1, 0]]])
    assert make('SurfaceNormals').valid(label).tolist() == [[True, False, False, False, True]]


def test_bad_labels():
    with pytest.raises(ValueError, match='length 255 to 255, expected 1'):
        make('SurfaceNormals').check(np.array([[[0.0, 255, 0], [0, 0, 0]]]))


def test_colours():
    value = np.moveaxis(
        np.array([[[0.0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, -1], [0, 0, 0]]]), -1, 0
    )
    assert make('SurfaceNormals').draw(value)[0].tolist() == [
        [128, 128, 255],
        [255, 128, 128],
        [128, 255, 128],
        [128, 128, 0],
        [180, 180, 180],
    ]
