import numpy as np
import pytest

from mmsam_peft.analysis.suite.results import Trained
from mmsam_peft.analysis.suite.significance import bootstrap, holm, paired


def test_one_seed_is_the_normal_interval_over_images():
    """With many images: mean +- 1.96 sd / sqrt(N)."""
    values = np.random.default_rng(0).normal(0.3, 2.0, (1, 400))
    half = 1.96 * values.std(ddof=1) / 20
    found = bootstrap(values)
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06 * half)
    assert (found.seeds, found.images) == (1, 400)


def test_seeds_count_as_much_as_they_should():
    """Two seeds that differ by 2 on every image: draws of two give the lower one twice, both, or
    the upper one twice, with 1/4, 1/2, 1/4; the deviation of their mean is sd / sqrt(2) = 1. As
    drawn it would be 0.71: so the three values are 5 - sqrt(2), 5 and 5 + sqrt(2)."""
    found = bootstrap(np.array([[4.0] * 9, [6.0] * 9]))
    assert found.mean == 5
    assert (found.low, found.high) == pytest.approx((5 - 2**0.5, 5 + 2**0.5))


def test_equal_seeds_add_nothing():
    values = np.random.default_rng(0).normal(0.3, 2.0, (1, 50))
    one, two = bootstrap(values), bootstrap(np.repeat(values, 2, 0))
    assert (two.low, two.high) == pytest.approx((one.low, one.high), rel=0.05)


def test_p_values():
    rng = np.random.default_rng(0)
    far = bootstrap(rng.normal(3, 1, (2, 30)))
    assert far.p == pytest.approx(2 / 10_001) and far.low > 0
    none = bootstrap(np.zeros((2, 30)))
    assert none.p == 1.0 and none.low == none.high == 0
    values = rng.normal(0.1, 1, (1, 60))
    one, other = bootstrap(values), bootstrap(-values)
    assert one.p == pytest.approx(other.p, rel=0.2) and 0.05 < one.p <= 1


def test_holm():
    """0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1, none below the one before."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def trained(scores: dict[int, dict[str, float]], metric: str = 'Dice', **whole) -> Trained:
    means = {seed: float(np.mean(list(images.values()))) for seed, images in scores.items()}
    return Trained(
        ('kvasir', 'LoRA', None),
        1e-3,
        {seed: dict(scores={metric: whole.get('whole', means[seed])}) for seed in scores},
        {
            seed: {path: {metric: value} for path, value in images.items()}
            for seed, images in scores.items()
        },
    )


def test_pairs_of_the_same_seeds_and_images():
    one = trained({0: dict(a=80.0, b=60.0), 1: dict(a=70.0, b=50.0), 2: dict(a=1.0, b=2.0)})
    other = trained({1: dict(b=55.0, a=60.0), 0: dict(b=50.0, a=90.0)})
    assert paired(one, other, 'Dice').tolist() == [[-10, 10], [10, -5]]
    assert paired(one, trained({0: dict(a=80.0, c=60.0)}), 'Dice') is None, 'other images'
    assert paired(one, trained({5: dict(a=80.0, b=60.0)}), 'Dice') is None, 'no common seed'
    pooled = trained({0: dict(a=80.0, b=60.0)}, whole=75.0)
    assert paired(one, pooled, 'Dice') is None, 'the metric is no mean over images'
