import numpy as np
import pytest

from mmsam_peft.measures.bootstrap import bootstrap


def mean(sums, images):
    return dict(mean=sums['value'] / images)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    """mean +- 1.96 s / sqrt(n), of 400 images, in whatever shape the numbers are."""
    values = np.random.default_rng(1).normal(50, 10, 400)
    half = 1.96 * values.std() / 20
    low, high = bootstrap(dict(value=values), mean, draws=4000)['mean']
    assert low == pytest.approx(values.mean() - half, abs=0.08 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.08 * half)
    both = bootstrap(dict(value=np.stack([values, -values], 1)), mean, draws=4000)['mean']
    assert both[0] == pytest.approx([low, -high]) and both[1] == pytest.approx([high, -low])


def test_the_same_each_time_and_whatever_the_portions(monkeypatch):
    values = dict(value=np.arange(30.0))
    first = bootstrap(values, mean)['mean']
    assert first == bootstrap(values, mean)['mean'] != bootstrap(values, mean, seed=1)['mean']
    monkeypatch.setattr('mmsam_peft.measures.bootstrap.LARGEST', 100)
    assert bootstrap(values, mean)['mean'] == first


def test_scores_that_some_draws_do_not_have():
    """0 / 0 where no image with a foreground is drawn; never, if there is none at all."""

    def ratio(sums, images):
        with np.errstate(invalid='ignore'):
            return dict(some=sums['a'] / sums['b'], none=sums['a'] * np.nan)

    found = bootstrap(dict(a=np.array([1.0, 0, 0]), b=np.array([2.0, 0, 0])), ratio)
    assert found['some'] == (0.5, 0.5) and np.isnan(found['none']).all()
    with pytest.raises(ValueError, match='no image'):
        bootstrap(dict(value=np.zeros(0)), mean)
