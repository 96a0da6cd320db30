import numpy as np
import pytest
import torch

from mmsam_peft.evaluation import BoundaryMetric
from mmsam_peft.evaluation.tallies import build_tally, tallies_of
from mmsam_peft.evaluation.training_checks import check_binary_metrics


def sample(pred, label):
    return dict(
        pred_sem_seg=dict(data=torch.as_tensor(pred)[None]),
        gt_sem_seg=dict(data=torch.as_tensor(label)[None]),
    )


def near_border(mask, valid):
    """Width 1: pixels of a mask beside its outside."""
    padded = np.pad(mask | ~valid, 1)
    height, width = mask.shape
    parts = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return mask & valid & ~np.all(parts, axis=0)


def counts(samples, k):
    found = []
    for pred, label in samples:
        valid = label != 255
        one, other = (near_border(x == k, valid) for x in (pred, label))
        found.append(((one & other).sum(), (one | other).sum()))
    return np.array(found, float)


def images(classes):
    rng = np.random.default_rng(0)
    draw = lambda: np.kron(rng.integers(0, classes, (3, 4)), np.ones((5, 5), int))  # noqa: E731
    made = [(draw(), draw()) for _ in range(4)]
    made[1][1][:5, :5] = 255
    return made


def score(samples, **settings):
    metric = BoundaryMetric(**settings)
    metric.dataset_meta = dict(classes=('road', 'car', 'tree'))
    metric.process({}, [sample(*one) for one in samples])
    tally = build_tally(tallies_of(metric)[0].settings())
    numbers = [tally.numbers(one) for one in metric.results if one]
    sums = {name: sum(one[name] for one in numbers) for name in numbers[0]}
    found = metric.evaluate(len(samples))
    of_tally = tally.scores(sums, len(numbers))
    assert of_tally == pytest.approx({name: found[name] for name in of_tally}, rel=1e-12)
    return found


def test_two_classes_against_numpy():
    void = (np.ones((4, 4), int), np.full((4, 4), 255))
    nothing = (np.zeros((4, 4), int), np.zeros((4, 4), int))
    found = counts(images(2), 1)
    expected = dict(
        BoundaryIoU=100 * ((found[:, 0] / found[:, 1]).sum() + 1) / 5,
        BoundaryIoU_pooled=100 * found[:, 0].sum() / found[:, 1].sum(),
    )
    assert score([*images(2), void, nothing]) == pytest.approx(expected, rel=1e-12)
    assert score([nothing]) == dict(BoundaryIoU=100, BoundaryIoU_pooled=100)


def test_several_classes_against_numpy():
    both, either = np.array([counts(images(2), k).sum(0) for k in (0, 1)]).T
    got = score(images(2), num_classes=3)  # the third does not occur
    expected = 100 * both / either
    assert got == pytest.approx(
        {
            'mBoundaryIoU': expected.mean(),
            'BoundaryIoU/road': expected[0],
            'BoundaryIoU/car': expected[1],
        }
    )


def test_refused():
    with pytest.raises(ValueError, match='num_classes=1'):
        BoundaryMetric(num_classes=1)
    with pytest.raises(ValueError, match='num_classes=2, but the model has 3'):
        check_binary_metrics([BoundaryMetric()], 3)
    check_binary_metrics([BoundaryMetric(num_classes=3)], 3)
