import numpy as np
import pytest

from mmsam_peft.measures.threshold import counts_at_thresholds, e_measure, f_measure


def naive_e(found, target):
    """The enhanced alignment matrix, pixel by pixel."""
    if not target.any():
        matrix = 1.0 - found
    elif target.all():
        matrix = found * 1.0
    else:
        f, g = found - found.mean(), target - target.mean()
        matrix = (1 + 2 * f * g / (f * f + g * g)) ** 2 / 4
    return matrix.sum() / (matrix.size - 1)


def naive_f(found, target):
    both = (found & target).sum()
    if both == 0:
        return 0.0
    precision, recall = both / found.sum(), both / target.sum()
    return 1.3 * precision * recall / (0.3 * precision + recall)


def targets():
    rng = np.random.default_rng(1)
    one = np.zeros(77, bool)
    one[5] = True
    return dict(random=rng.random(77) < 0.4, empty=one & False, full=one | True, one_pixel=one)


@pytest.mark.parametrize('name', targets())
def test_curves_against_loops_over_thresholds(name):
    target = targets()[name]
    levels = np.random.default_rng(2).integers(0, 256, 77).astype(np.uint8)
    levels[:4] = 0, 0, 255, 255
    tp, fp = counts_at_thresholds(levels, target)
    e, f = e_measure(tp, fp, target.sum(), 77), f_measure(tp, fp, target.sum())
    for t in range(256):
        found = levels >= t
        assert (tp[t], fp[t]) == ((found & target).sum(), (found & ~target).sum())
        assert e[t] == pytest.approx(naive_e(found, target), abs=1e-12)
        assert f[t] == pytest.approx(naive_f(found, target), abs=1e-12)


def test_e_measure_of_perfect_inverted_and_uninformed_maps():
    assert e_measure(30, 0, 30, 100) == pytest.approx(100 / 99)
    assert e_measure(0, 70, 30, 100) == pytest.approx(0, abs=1e-12)
    assert e_measure(30, 70, 30, 100) == pytest.approx(100 / 99 / 4)


def test_f_measure_beta():
    assert f_measure(8, 8, 10, beta2=1.0) == pytest.approx(2 * 0.5 * 0.8 / (0.5 + 0.8))
    assert f_measure(0, 0, 0) == 0
