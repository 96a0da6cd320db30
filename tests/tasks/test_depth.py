import numpy as np
import pytest

from .conftest import PROTOCOLS, batch, expected, images, make, pixels, summarise

BOTH = pytest.mark.parametrize('kind', ['Depth', 'InverseDepth'])


@BOTH
def test_loss_against_a_loop(kind):
    output, label, valid = batch(make(kind))
    terms = [
        abs(output[b, 0, y, x] - label[b, 0, y, x].double())
        for b, y, x in zip(*np.nonzero(valid[:, 0].numpy()), strict=True)
    ]
    assert make(kind).loss(output, label, valid).item() == pytest.approx(np.mean(terms), rel=1e-12)


def score(values):
    pairs = [(p, g) for (p,), (g,) in values]
    deltas = {
        f'delta{k}': 100 * np.mean([p > 0 and max(p / g, g / p) < 1.25**k for p, g in pairs])
        for k in (1, 2, 3)
    }
    return dict(
        AErr=np.mean([abs(p - g) for p, g in pairs]),
        RErr=np.mean([abs(p - g) / g for p, g in pairs]),
        RMSE=np.mean([(p - g) ** 2 for p, g in pairs]) ** 0.5,
        **deltas,
    )


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('share', [0.9, 0.03])
@BOTH
def test_metrics_against_a_loop(kind, protocol, share):
    task = make(kind)
    scenes = [
        (p - 0.5, g, v) for p, g, v in images(task, share=share, seed=3)
    ]  # some predictions are negative
    assert any(p < 0 for scene in scenes for (p,), _ in pixels(task, scene)) or share < 0.1
    reference = expected(task, scenes, protocol, score)
    assert summarise(task, scenes, protocol) == pytest.approx(
        {metric: reference[metric] for metric in task.better}, rel=1e-12
    )


def test_names():
    assert list(make('Depth').better.values()) == ['lower'] * 3 + ['higher'] * 3
    assert make('InverseDepth').better == dict(AErr='lower', RErr='lower')


def test_one_valid_pixel():
    label = np.array([[[0, np.nan], [np.inf, 2]]], np.float32)
    valid = make('Depth').valid(label[0][..., None])[None]
    assert valid.tolist() == [[[False, False], [False, True]]]
    got = summarise(make('Depth'), [(np.full((1, 2, 2), 3.0, np.float32), label, valid)], 'pooled')
    assert got == dict(AErr=1, RErr=0.5, RMSE=1, delta1=0, delta2=100, delta3=100)


def test_zoom():
    label = np.array([[[3.0], [np.nan], [0.0]]], np.float32)
    near, inverse = (
        make('Depth').zoom(label, np.float64(1.5)),
        make('InverseDepth').zoom(label, np.float64(1.5)),
    )
    assert near.dtype == inverse.dtype == np.float32
    np.testing.assert_array_equal(near, [[[2], [np.nan], [0]]])
    np.testing.assert_array_equal(inverse, [[[4.5], [np.nan], [0]]])
    np.testing.assert_array_equal(make('Depth').flip(label), label)


@BOTH
def test_bad_labels(kind):
    with pytest.raises(ValueError, match='has type uint16, expected floating point'):
        make(kind).check(np.ones((2, 2, 1), np.uint16))
    with pytest.raises(ValueError, match='negative values down to -1, expected positive'):
        make(kind).check(np.array([[[-1.0], [np.nan]]]))


def test_near_is_bright_and_limits_are_kept():
    value = np.array([[[1.0, 2.0, 3.0, np.nan]]])
    near, middle, far, missing = make('Depth').draw(value).astype(int).sum(-1)[0]
    assert near > middle > far and missing == 540
    assert make('Depth').limits(value) == (1, 3)
    inverse = make('InverseDepth').draw(value)
    np.testing.assert_allclose(
        inverse[:, :3].astype(int), make('Depth').draw(value)[:, 2::-1], atol=2
    )
    wide = make('Depth').draw(value, limits=(0, 4))
    np.testing.assert_array_equal(wide[0, 1], make('Depth').draw(np.array([[[0.5, 1, 1.5]]]))[0, 1])
    np.testing.assert_array_equal(
        make('Depth').draw(10 * value, limits=(1, 3))[0, 0], make('Depth').draw(value)[0, 2]
    )
    assert (make('Depth').draw(np.zeros((1, 2, 2))) == 180).all()
    assert (
        make('Depth').draw(np.ones((1, 2, 2)))[0, 0].tolist()
        == make('Depth').draw(value)[0, 0].tolist()
    )
