import numpy as np
import pytest

from mmsam_peft.measures.clicks import (
    iou_of,
    number_of_clicks,
    objects_of,
    random_click,
    robot_click,
)


def rectangle(*sides: int, shape=(20, 30)) -> np.ndarray:
    """bool (H, W) from top, bottom, left, right."""
    mask = np.zeros(shape, bool)
    mask[sides[0] : sides[1], sides[2] : sides[3]] = True
    return mask


NOTHING = np.zeros((20, 30), bool)


def test_objects_are_connected_parts_that_are_large_enough():
    mask = rectangle(0, 3, 0, 3) | rectangle(3, 5, 3, 5) | rectangle(10, 12, 10, 12)
    mask[18, 28] = True
    numbers, count = objects_of(mask, least=4)
    assert count == 2, 'the first two touch at a corner, the last is a single pixel'
    assert numbers[0, 0] == numbers[4, 4] == 1 and numbers[10, 10] == 2
    assert numbers[18, 28] == 0 and (numbers > 0).sum() == 13 + 4
    assert objects_of(NOTHING)[1] == 0


def test_the_first_click_is_in_the_middle():
    assert robot_click(NOTHING, rectangle(4, 9, 10, 21)) == (12, 6, 1)  # the first of equals
    disc = np.hypot(*(np.mgrid[:20, :30] - np.array([9, 14])[:, None, None])) < 6
    assert robot_click(NOTHING, disc) == (14, 9, 1)


def test_the_border_of_the_image_is_a_border():
    assert robot_click(NOTHING, rectangle(0, 7, 0, 7)) == (3, 3, 1)


def test_the_wider_of_what_is_missing_and_what_is_too_much_is_clicked():
    target, prediction = rectangle(2, 12, 2, 12), rectangle(2, 12, 5, 19)
    assert robot_click(prediction, target)[2] == 0, '3 columns are missing, 7 too much'
    assert robot_click(prediction, target)[:2] == (15, 5)
    assert robot_click(rectangle(2, 12, 7, 14), target) == (4, 4, 1)


def test_what_was_clicked_or_is_ignored_is_not_clicked():
    target = rectangle(4, 9, 10, 21)
    first = robot_click(NOTHING, target)
    second = robot_click(NOTHING, target, taken=[first[:2]])
    assert second is not None and second[:2] != first[:2]
    valid = np.ones_like(target)
    valid[:, :16] = False
    assert robot_click(NOTHING, target, valid)[0] >= 16
    assert robot_click(target, target) is None
    assert robot_click(NOTHING, target, ~target) is None
    pixel = rectangle(3, 4, 3, 4)
    assert robot_click(NOTHING, pixel, taken=[(3, 3)]) is None


def test_random_clicks_are_even_in_the_largest_error():
    target = rectangle(2, 6, 2, 7) | rectangle(10, 12, 20, 23)
    prediction = rectangle(15, 18, 25, 29)
    rng = np.random.default_rng(0)
    drawn = [random_click(prediction, target, rng) for _ in range(2000)]
    counts = np.zeros(target.shape, int)
    for x, y, label in drawn:
        assert label == 1
        counts[y, x] += 1
    inside = counts[2:6, 2:7]
    assert inside.sum() == 2000 and 60 < inside.min() and inside.max() < 145, '100 expected'
    too_much = random_click(rectangle(0, 9, 0, 9) | target, target, rng)
    assert too_much[2] == 0
    assert random_click(target, target, rng) is None


def test_iou_and_number_of_clicks():
    one, other = rectangle(0, 4, 0, 4), rectangle(0, 4, 2, 6)
    assert iou_of(one, other) == 8 / 24 and iou_of(NOTHING, NOTHING) == 1
    assert iou_of(one, other, rectangle(0, 20, 0, 4)) == 8 / 16
    assert number_of_clicks([0.5, 0.85, 0.7, 0.9], 0.85) == 2
    assert number_of_clicks([0.5, 0.85, 0.7, 0.9], 0.9) == 4
    assert number_of_clicks([0.5, 0.6], 0.9) == 2, 'never reached: all of them'


@pytest.mark.parametrize('seed', range(5))
def test_clicks_agree_with_a_plain_search(seed):
    """The farthest pixel of an error from all that is none, by comparing with every pixel."""
    rng = np.random.default_rng(seed)
    prediction, target = rng.random((2, 9, 11)) < 0.5
    best = {}
    for label, wrong in ((1, target & ~prediction), (0, prediction & ~target)):
        padded = np.pad(wrong, 1)
        free = np.argwhere(~padded)
        depth = [np.hypot(*(free - place).T).min() for place in np.argwhere(padded)]
        best[label] = max(depth, default=0)
    x, y, label = robot_click(prediction, target)
    assert label == int(best[1] > best[0])
    wrong = np.pad((target & ~prediction) if label else (prediction & ~target), 1)
    free = np.argwhere(~wrong)
    assert np.hypot(*(free - [y + 1, x + 1]).T).min() == pytest.approx(max(best.values()))
