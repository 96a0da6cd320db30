import numpy as np
import pytest

from mmsam_peft.measures.boundary import boundary, boundary_counts, boundary_width


def naive(mask, valid, width):
    """A mask's pixel is in the boundary if any pixel within the square around it is outside."""
    found = np.zeros_like(mask)
    height, length = mask.shape
    for r, c in zip(*np.nonzero(mask & valid), strict=True):
        around = [
            (r + i, c + j) for i in range(-width, width + 1) for j in range(-width, width + 1)
        ]
        found[r, c] = any(
            not (0 <= a < height and 0 <= b < length) or valid[a, b] and not mask[a, b]
            for a, b in around
        )
    return found


@pytest.mark.parametrize('seed', range(4))
def test_against_loops(seed):
    rng = np.random.default_rng(seed)
    masks = [np.kron(rng.random((5, 6)) < 0.6, np.ones((5, 5), bool)) for _ in range(2)]
    valid = np.kron(rng.random((5, 3)) < 0.9, np.ones((5, 10), bool)) if seed else masks[0] | True
    one, other = (naive(mask, valid, 2) for mask in masks)
    for mask, expected in zip(masks, (one, other), strict=True):
        assert (boundary(mask & valid, valid, 2) == expected).all()
    ratio = 2 / np.hypot(25, 30)
    counts = boundary_counts(*(mask & valid for mask in masks), valid, ratio)
    assert counts == ((one & other).sum(), (one | other).sum())


def test_width_is_a_share_of_the_diagonal():
    assert boundary_width((1024, 1024)) == 29 and boundary_width((300, 400)) == 10
    assert boundary_width((8, 8)) == 1


def test_erosions_by_three_pixels_as_in_the_authors_program():
    mask = np.zeros((40, 40), bool)
    mask[5:35, 8:30] = True
    inner = mask
    for _ in range(3):
        padded = np.pad(inner, 1)
        inner = np.all([padded[i : i + 40, j : j + 40] for i in range(3) for j in range(3)], axis=0)
    assert (boundary(mask, mask | True, 3) == (mask & ~inner)).all()
