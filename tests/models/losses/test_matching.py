import itertools

import numpy as np
import pytest
import torch

from mmsam_peft.models.losses.matching import assign, matching_costs


def test_costs():
    """Every pair by itself."""
    torch.manual_seed(0)
    class_logits, point_logits = (
        torch.randn(2, 3, 5, dtype=torch.float64),
        torch.randn(2, 3, 20, dtype=torch.float64),
    )
    labels = torch.randint(0, 5, (2, 20)).masked_fill(torch.rand(2, 20) < 0.3, 255)
    labels[labels == 4] = 3
    costs = matching_costs(class_logits, point_logits, labels, 255)
    for image, klass, query in itertools.product(range(2), range(4), range(3)):
        x, t = point_logits[image, query].numpy(), labels[image].numpy()
        x, t = x[t != 255], t[t != 255] == klass
        prob = 1 / (1 + np.exp(-x))
        scores = np.exp(class_logits[image, query].numpy())
        expected = (
            -scores[klass] / scores.sum(),
            -np.log(np.where(t, prob, 1 - prob)).mean(),
            1 - (2 * prob[t].sum() + 1) / (prob.sum() + t.sum() + 1),
        )
        for cost, value in zip(costs, expected, strict=True):
            assert cost.shape == (2, 4, 3)
            assert cost[image, klass, query].item() == pytest.approx(value, rel=1e-10)


def test_costs_without_valid_points():
    _, cost_mask, cost_dice = matching_costs(
        torch.zeros(1, 2, 4), torch.randn(1, 2, 6), torch.full((1, 6), 255), 255
    )
    assert (cost_mask == 0).all() and (cost_dice == 0).all()


@pytest.mark.parametrize('shown', [[0, 1, 2, 3], [1, 3], [2], []])
def test_least_total_cost(shown):
    rng = np.random.default_rng(0)
    costs = rng.normal(size=(3, 4, 5))
    present = np.zeros((3, 4), dtype=bool)
    present[:, shown] = True
    image, query, klass = assign(costs, present)
    for index in range(3):
        chosen = image == index
        assert klass[chosen].tolist() == shown
        best = min(
            itertools.permutations(range(5), len(shown)),
            key=lambda queries: costs[index, shown, list(queries)].sum(),  # noqa: B023
        )
        assert query[chosen].tolist() == list(best)


def test_more_classes_than_queries():
    costs = np.array([[[5.0, 9.0], [1.0, 9.0], [9.0, 1.0]]])
    with pytest.warns(UserWarning, match=r'queries \(2\)'):
        matches = assign(costs, np.ones((1, 3), dtype=bool))
    assert matches.tolist() == [[0, 0], [0, 1], [1, 2]]


def test_costs_that_are_not_finite_count_as_zero():
    """Here and there, so that the loss, and not an error in one of several processes, tells of
    them."""
    assert assign(
        np.array([[[np.nan, 1], [np.inf, -1]]]), np.ones((1, 2), dtype=bool)
    ).tolist() == [[0, 0], [0, 1], [0, 1]]
