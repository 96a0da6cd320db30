import math

import numpy as np
import pytest
from scipy import ndimage

from mmsam_peft.measures.structure import level_counts, s_measure
from mmsam_peft.measures.weighted_f import carry, weighted_f


def s_of(pred, target):
    """The S-measure of a map of at most 256 values."""
    values, levels = np.unique(pred, return_inverse=True)
    levels = levels.reshape(pred.shape).astype(np.uint8)
    counts = level_counts(levels, target, np.ones_like(target))
    return s_measure(counts, np.pad(values, (0, 256 - len(values))))


def naive_s(pred, target):
    height, width = target.shape
    pixels = [(r, c) for r in range(height) for c in range(width)]
    inside = [p for p in pixels if target[p]]

    def stats(values):
        mean = math.fsum(values) / len(values)
        return mean, math.fsum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)

    def s_object(values):
        mean, variance = stats(values)
        return 2 * mean / (mean * mean + 1 + math.sqrt(variance))

    share = len(inside) / len(pixels)
    s_o = share * s_object([pred[p] for p in inside]) + (1 - share) * s_object(
        [1 - pred[p] for p in pixels if not target[p]]
    )

    row, col = (round(math.fsum(p[k] for p in inside) / len(inside)) + 1 for k in (0, 1))
    blocks = {}
    for r, c in pixels:
        blocks.setdefault((r < row, c < col), []).append((r, c))
    s_r = 0.0
    for block in blocks.values():
        x, y = [pred[p] for p in block], [float(target[p]) for p in block]
        (mx, vx), (my, vy) = stats(x), stats(y)
        cov = math.fsum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / max(
            len(block) - 1, 1
        )
        similarity = 1.0 if vx + vy == 0 else 4 * mx * my * cov / ((mx**2 + my**2) * (vx + vy))
        s_r += len(block) / len(pixels) * similarity
    return max(0, (s_o + s_r) / 2)


def naive_wf(pred, target):
    """Margolin's definition; only for targets of which no two pixels are equally near to a
    third."""
    pixels, inside = list(np.ndindex(target.shape)), list(zip(*np.nonzero(target), strict=True))
    error = {p: abs(pred[p] - target[p]) for p in pixels}
    nearest = {p: min(inside, key=lambda q: math.dist(p, q)) for p in pixels}  # noqa: B023
    kernel = {(i, j): math.exp(-(i * i + j * j) / 50) for i in range(-3, 4) for j in range(-3, 4)}
    norm = sum(kernel.values())
    loss_in, loss_out = 0.0, 0.0
    for r, c in pixels:
        if target[r, c]:
            near = ((weight, (r + i, c + j)) for (i, j), weight in kernel.items())
            spread = sum(weight / norm * error[nearest[q]] for weight, q in near if q in nearest)
            loss_in += min(error[r, c], spread)
        else:
            loss_out += error[r, c] * (
                2 - math.exp(math.log(0.5) / 5 * math.dist((r, c), nearest[r, c]))
            )
    tp = len(inside) - loss_in
    recall, precision = tp / len(inside), tp / (tp + loss_out)
    return 2 * recall * precision / (recall + precision)


@pytest.mark.parametrize('seed', range(8))
def test_s_measure_against_loops(seed):
    rng = np.random.default_rng(seed)
    pred, target = rng.random((11, 14)), rng.random((11, 14)) < rng.random()
    target[0, 0], target[3, 3] = True, False
    assert s_of(pred, target) == pytest.approx(naive_s(pred, target), abs=1e-12)
    sharp = np.clip(target + rng.normal(0, 0.2, target.shape), 0, 1)
    assert s_of(sharp, target) == pytest.approx(naive_s(sharp, target), abs=1e-12)


@pytest.mark.parametrize('pixel', [(0, 0), (10, 13), (0, 13), (5, 6)])
def test_one_pixel_mask_also_at_the_border(pixel):
    pred = np.random.default_rng(3).random((11, 14))
    target = np.zeros((11, 14), bool)
    target[pixel] = True
    assert s_of(pred, target) == pytest.approx(naive_s(pred, target), abs=1e-12)
    assert weighted_f(pred, target, target | True) == pytest.approx(
        naive_wf(pred, target), abs=1e-12
    )


@pytest.mark.parametrize('first, second', [((0, 0), (8, 9)), ((4, 4), (4, 7)), ((10, 2), (3, 12))])
def test_weighted_f_against_loops(first, second):
    assert (sum(first) - sum(second)) % 2, (
        'squared distances to both differ in parity, so no pixel is equally near'
    )
    pred = np.random.default_rng(4).random((11, 14))
    target = np.zeros((11, 14), bool)
    target[first] = target[second] = True
    pred[first], pred[second] = 0.1, 0.9
    assert weighted_f(pred, target, target | True) == pytest.approx(
        naive_wf(pred, target), abs=1e-12
    )


def test_weighted_f_smooths_errors_inside_the_target():
    target = np.zeros((15, 15), bool)
    target[3:12, 3:12] = True
    hole = target.astype(float)
    hole[7, 7] = 0
    lost = (
        1
        / sum(math.exp(-(i * i + j * j) / 50) for i in range(-3, 4) for j in range(-3, 4))
        / target.sum()
    )
    assert weighted_f(hole, target, target | True) == pytest.approx(
        2 * (1 - lost) / (2 - lost), abs=1e-12
    )


def test_empty_and_full_masks():
    pred = np.random.default_rng(5).random((6, 7))
    full = np.ones((6, 7), bool)
    assert s_of(pred, ~full) == pytest.approx(1 - pred.mean())
    assert s_of(pred, full) == pytest.approx(pred.mean())
    assert weighted_f(pred, ~full, full) == 0
    assert weighted_f(full * 1.0, full, full) == pytest.approx(1)


def test_perfect_map_scores_one():
    target = np.random.default_rng(6).random((9, 9)) < 0.5
    assert s_of(target * 1.0, target) == pytest.approx(1)
    assert weighted_f(target * 1.0, target, target | True) == pytest.approx(1)


@pytest.mark.parametrize('level', [0.1, 0.3, 77 / 255])
def test_constant_block_is_recognised_despite_rounding(level):
    """Only the block with the target's pixel is not constant in the mask: similarity 0 there, 1 in
    the other three."""
    target = np.zeros((10, 10), bool)
    target[1, 2] = True
    pred = np.full((10, 10), level)
    s_object = 0.01 * 2 * level / (level**2 + 1) + 0.99 * 2 * (1 - level) / ((1 - level) ** 2 + 1)
    assert s_of(pred, target) == pytest.approx((s_object + 1 - 2 * 3 / 100) / 2, abs=1e-12)


def test_nearest_pixels_are_those_of_the_distance_transform():
    """Also where several are equally near; and no value that is not needed is looked for."""
    rng = np.random.default_rng(7)
    for share in (0.01, 0.05, 0.3):
        target = rng.random((60, 70)) < share
        error = rng.random(target.shape)
        nearest = ndimage.distance_transform_edt(~target, None, False, True)
        reached = ndimage.binary_dilation(target, np.ones((7, 7)))
        assert (carry(error, target) == np.where(reached, error[tuple(nearest)], error)).all()


@pytest.mark.parametrize('beta2', [1.0, 0.3])
def test_weighted_f_with_scipys_filters(beta2):
    """The definition over whole images, of a blob, a stripe at the border and dots."""
    rng = np.random.default_rng(8)
    target = ndimage.gaussian_filter(rng.random((90, 120)), 6) > 0.5
    target[:, -2:], target[40, 3] = True, True
    pred, valid = rng.random(target.shape), rng.random(target.shape) < 0.9
    target &= valid
    error = np.abs(pred - target)
    distance, nearest = ndimage.distance_transform_edt(~target, return_indices=True)
    spread = ndimage.gaussian_filter(error[tuple(nearest)], sigma=5, radius=3, mode='constant')
    inside = np.minimum(error, spread)[target]
    outside = (error * (2 - 0.5 ** (distance / 5)))[valid & ~target].sum()
    recall, hits = 1 - inside.mean(), target.sum() - inside.sum()
    precision = hits / (hits + outside)
    expected = (1 + beta2) * recall * precision / (recall + beta2 * precision)
    assert weighted_f(pred, target, valid, beta2) == pytest.approx(expected, abs=1e-12)
