"""Weights from numbers, against the papers' definitions."""

from itertools import product

import numpy as np
import pytest
import torch

from mmsam_peft.registry import WEIGHTINGS

GRADIENT = ['CAGrad', 'MGDA', 'NashMTL', 'PCGrad']


def build(name: str, tasks: int, **options):
    return WEIGHTINGS.build(
        dict(type=name, tasks={f'task{t}': 1.0 for t in range(tasks)}, **options)
    )


def gradients(tasks: int, seed: int, conflict: float = 1.0) -> np.ndarray:
    """(T, 5), of unlike lengths; each has a part that points against the one before."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(tasks, 5)) + conflict * (-1.0) ** np.arange(tasks)[:, None]
    return g * rng.uniform(0.2, 5, (tasks, 1))


def step(weighting, g: np.ndarray) -> np.ndarray:
    gram = g @ g.T
    return weighting.weights(gram / gram.max()) @ g


def per_task(log_weights: torch.Tensor) -> list[float]:
    return [round(float(weight), 6) for weight in log_weights]


# Losses


def test_rlw_weights_are_softmax_of_normal_noise():
    torch.manual_seed(0)
    weighting, logits = build('RLW', 3), []
    for _ in range(2000):
        weights = weighting.weights(None)
        assert weights.equal(weighting.weights(None)), 'the same within an iteration'
        assert weights.sum().item() == pytest.approx(1)
        logits.append(weights.log() - weights.log().mean())
        weighting.observe(torch.ones(3))
    logits = torch.stack(logits)
    assert logits.mean(0).abs().max() < 0.06
    assert torch.allclose(logits.var(0), torch.tensor(2 / 3).double(), atol=0.06), (
        'of centred standard normal numbers'
    )


def test_rlw_follows_the_seed():
    def first(seed):
        torch.manual_seed(seed)
        return build('RLW', 3).weights(None)

    assert first(0).equal(first(0)) and not first(0).equal(first(1))


def test_dwa_compares_the_last_two_intervals():
    weighting = build('DWA', 2, interval=2, temperature=0.5)
    seen = []
    for losses in ([4, 1], [2, 1], [1, 3], [2, 1], [9, 9], [9, 9]):
        seen.append(per_task(weighting.weights(None)))
        weighting.observe(torch.tensor(losses).float())
    first, second = np.exp(0.5 / 0.5), np.exp(2 / 0.5)  # (1.5 / 3, 2 / 1) over the temperature
    assert seen[:4] == [[0.5, 0.5]] * 4
    assert seen[4] == seen[5] == per_task(torch.tensor([first, second]) / (first + second))
    assert per_task(weighting.weights(None)) == per_task(
        torch.tensor([9 / 1.5, 9 / 2]).div(0.5).softmax(0)
    )


def test_dwa_leaves_out_what_is_not_known():
    weighting = build('DWA', 3, interval=2)
    for losses in ([2, 0, 1], [4, 0, float('inf')], [1, 0, 2], [2, 5, 2]):
        weighting.observe(torch.tensor(losses))
    assert per_task(weighting.weights(None)) == per_task(
        torch.tensor([0.5, 1, 2]).div(2).softmax(0)
    )


def test_gls_is_the_geometric_mean():
    losses = torch.tensor([2.0, 0.5, 8.0], requires_grad=True)
    (losses.prod() ** (1 / 3)).backward()
    weights = build('GLS', 3).weights(losses.detach())
    assert torch.allclose(weights, losses.grad)
    assert (weights * losses).sum().item() == pytest.approx(2)
    scaled = build('GLS', 3).weights(losses.detach() * torch.tensor([1e3, 1, 1e-3])) * torch.tensor(
        [1e3, 1, 1e-3]
    )
    assert torch.allclose(scaled, weights), 'the scales of the losses cancel'


def test_gls_leaves_out_a_loss_of_zero():
    assert per_task(build('GLS', 3).weights(torch.tensor([2.0, 0.0, 8.0]))) == [1.0, 0.0, 0.25]
    assert per_task(build('GLS', 2).weights(torch.zeros(2))) == [0.0, 0.0]


def test_uncertainty_is_minimal_where_the_variance_is_the_loss():
    weighting, losses = build('Uncertainty', 3), torch.tensor([0.3, 2.0, 0.0])
    assert torch.allclose(weighting.weights(None), torch.tensor(1 / 3)), 'it begins as Fixed'
    optimizer = torch.optim.SGD(weighting.parameters(), lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        weighting.terms(weighting.weights(None), losses).sum().backward()
        optimizer.step()
    assert torch.allclose(
        weighting.log_variances.exp(), torch.tensor([0.3, 2.0, 1.0]), rtol=1e-4
    ), 'the last has no loss'


@pytest.mark.parametrize('name', ['Fixed', 'GLS', 'Uncertainty'])
def test_not_a_number_is_not_hidden(name):
    weighting, losses = build(name, 2), torch.tensor([1.0, float('nan')])
    assert weighting.terms(weighting.weights(losses), losses).sum().isnan()


# Gradients


@pytest.mark.parametrize('seed', range(5))
def test_pcgrad_projects_in_some_order_onto_the_others(seed):
    def projected(i, order):
        d = g[i].copy()
        for j in order:
            if d @ g[j] < 0:
                d = d - (d @ g[j]) / (g[j] @ g[j]) * g[j]
        return d

    torch.manual_seed(0)
    g, weighting = gradients(3, seed), build('PCGrad', 3)
    others = [(1, 2), (0, 2), (0, 1)]
    possible = [
        sum(projected(i, order) for i, order in enumerate(orders)) / 3
        for orders in product(*[(pair, pair[::-1]) for pair in others])
    ]
    possible = {tuple(one.round(9)) for one in possible}
    assert len(possible) > 1
    assert {tuple(step(weighting, g).round(9)) for _ in range(60)} == possible


@pytest.mark.parametrize('tasks, seed', [(2, 0), (2, 1), (3, 0), (3, 1), (5, 2), (8, 3)])
def test_mgda_is_the_shortest_convex_combination(tasks, seed):
    """Every gradient reaches at least as far along the step as the step itself, those with a weight
    exactly as far."""
    g, weighting = gradients(tasks, seed), build('MGDA', tasks)
    gram = g @ g.T
    w = weighting.weights(gram / gram.max())
    assert w.min() >= 0 and w.sum() == pytest.approx(1)
    d = w @ g
    assert (g @ d >= d @ d - 1e-9).all()
    assert np.allclose((g @ d)[w > 1e-9], d @ d, atol=1e-9)


@pytest.mark.parametrize('seed', range(5))
def test_mgda_of_two(seed):
    first, second = g = gradients(2, seed)
    share = np.clip((second - first) @ second / ((first - second) @ (first - second)), 0, 1)
    assert np.allclose(step(build('MGDA', 2), g), share * first + (1 - share) * second)


@pytest.mark.parametrize('c', [0.2, 0.4, 0.9])
@pytest.mark.parametrize('tasks, seed', [(2, 0), (2, 1), (3, 2), (5, 3)])
def test_cagrad_helps_the_worst_task_best_within_its_ball(tasks, seed, c):
    g = gradients(tasks, seed)
    mean = g.mean(0)
    d = step(build('CAGrad', tasks, c=c), g)
    radius = c * np.linalg.norm(mean)
    assert np.linalg.norm(d - mean) == pytest.approx(radius, rel=1e-5)
    rng = np.random.default_rng(0)
    best, size = d, 1.0
    for _ in range(3000):  # does a search from there find better?
        other = best + size * radius * rng.normal(size=5) - mean
        other = mean + other * min(1, radius / np.linalg.norm(other))
        if (g @ other).min() > (g @ best).min():
            best = other
        size *= 0.997
    assert (g @ best).min() <= (g @ d).min() + 1e-4 * radius * np.linalg.norm(g, axis=1).max()


def test_cagrad_without_radius_is_the_mean():
    g = gradients(3, 0)
    assert np.allclose(step(build('CAGrad', 3, c=0.0), g), g.mean(0))


@pytest.mark.parametrize('tasks, seed', [(2, 0), (2, 1), (3, 0), (3, 1), (4, 3)])
def test_nash_solves_the_bargaining_problem(tasks, seed):
    """a_t (g_t . G a) is the same for every task; its value follows from the step's scale."""
    g, weighting = gradients(tasks, seed, conflict=0.3), build('NashMTL', tasks)
    gram = g @ g.T
    a = weighting.weights(gram / gram.max())
    assert a.min() > 0
    assert np.allclose(a * (gram @ a), np.linalg.norm(gram) / tasks**2, rtol=1e-5)


@pytest.mark.parametrize('scales', [(1, 100), (1e-3, 1e3)])
def test_nash_has_one_direction_for_all_scales(scales):
    g = gradients(2, 0, conflict=0.3)
    first, second = (step(build('NashMTL', 2), one) for one in (g, g * np.array(scales)[:, None]))
    assert np.allclose(first / np.linalg.norm(first), second / np.linalg.norm(second), atol=1e-6)


@pytest.mark.parametrize('name', ['PCGrad', 'MGDA', 'NashMTL'])
def test_right_angles_need_no_compromise(name):
    g = np.eye(5)[:3] * np.array([[1.0], [2.0], [4.0]])
    expected = dict(
        PCGrad=g.mean(0),
        MGDA=(g / (g**2).sum(1, keepdims=True)).sum(0) / (1 / (g**2).sum(1)).sum(),
        NashMTL=(1 + 2**4 + 4**4) ** 0.25 * np.eye(5)[:3].sum(0) / 3,
    )
    assert np.allclose(step(build(name, 3), g), expected[name], rtol=1e-6)


@pytest.mark.parametrize('name', GRADIENT)
def test_equal_gradients_stay(name):
    g = np.tile(gradients(1, 0), (3, 1))
    assert np.allclose(step(build(name, 3), g), g[0] * (1.4 if name == 'CAGrad' else 1), rtol=1e-6)


@pytest.mark.parametrize('name', GRADIENT)
@pytest.mark.parametrize('tasks, seed', [(2, 0), (3, 1), (5, 2)])
def test_two_orders_of_tasks_are_one_problem(name, tasks, seed):
    g = gradients(tasks, seed, conflict=0 if name == 'PCGrad' else 1)
    g = np.abs(g) if name == 'PCGrad' else g  # its projections depend on the order
    assert np.allclose(
        step(build(name, tasks), g), step(build(name, tasks), g[::-1]), atol=1e-4 * np.abs(g).max()
    )


@pytest.mark.parametrize('name', GRADIENT)
def test_opposite_gradients_give_no_step(name):
    """Nothing helps both; where weights are ratios of vanishing lengths they stay finite."""
    g = np.array([[1.0, 2.0], [-1.0, -2.0]])
    weights = build(name, 2).weights(g @ g.T / 5)
    assert np.isfinite(weights).all()
    assert np.allclose(weights @ g, 0, atol=1e-3)


@pytest.mark.parametrize('name', GRADIENT)
def test_the_others_have_their_share_where_a_gradient_is_zero(name):
    g = torch.from_numpy(gradients(3, 0))
    g[1] = 0
    alone, among = (
        build(name, tasks).present_weights(rows) for tasks, rows in ((2, g[[0, 2]]), (3, g))
    )
    assert np.allclose(among, [alone[0] * 2 / 3, 0, alone[1] * 2 / 3])
    g[2] = 0
    assert np.allclose(build(name, 3).present_weights(g), [1 / 3, 0, 0])
    assert np.allclose(build(name, 3).present_weights(0 * g), 0)


@pytest.mark.parametrize('name', GRADIENT)
@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_overflow_is_left_to_the_loss_scaler(name, value):
    g = torch.from_numpy(gradients(3, 0))
    g[0, 0] = g[1, 1] = value
    assert np.allclose(build(name, 3).present_weights(g), 1 / 3)


@pytest.mark.parametrize('name', GRADIENT)
def test_long_gradients_of_single_precision(name):
    """In several pieces, and so long that their products overflow single precision."""
    g = torch.from_numpy(gradients(2, 0)).repeat(1, 500_000)
    weighting = build(name, 2)
    expected = weighting.weights((g @ g.T).numpy() / (g @ g.T).max().item())
    assert np.allclose(weighting.present_weights(g.float() * 1e30), expected, rtol=1e-4)
