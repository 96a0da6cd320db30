import numpy as np
import pytest
from pycocotools import mask as coco

from mmsam_peft.datasets.labels.brush import decode_brush
from mmsam_peft.datasets.labels.shapes import Grid, Polygons, Runs, ellipse, rectangle

SIZE = 48, 64


def drawn(shape, size=SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    shape.patch().paint(mask, 1)
    return mask


@pytest.mark.parametrize('shift', [(0, 0), (-20.4, 3), (40, 30)])
def test_polygons_are_drawn_as_by_coco(shift):
    """In a part of the image as in all of it, at its edges and beyond too, and rings joined."""
    star = [(10, 2), (14, 16), (28, 17), (16, 24), (20, 40), (9, 28), (1, 33), (5, 20)]
    other = [(30.3, 20.2), (44, 22), (41.7, 33.9)]
    rings = [np.array(ring, float) + shift for ring in (star, other)]
    rings = [np.clip(ring, -1, (65, 49)) for ring in rings]
    whole = coco.merge(coco.frPyObjects([ring.ravel().tolist() for ring in rings], *SIZE))
    shape = Polygons(rings, SIZE)
    assert (drawn(shape) == coco.decode(whole)).all() and not shape.nested()


def test_a_pixel_belongs_to_what_covers_its_centre():
    expected = np.zeros(SIZE, np.uint8)
    expected[3:9, 2:7] = 1
    assert (drawn(Polygons([rectangle(2, 3, 7, 9)], SIZE)) == expected).all()
    assert (drawn(Polygons([rectangle(0, 0, 64, 48)], SIZE)) == 1).all()
    y, x = np.mgrid[:48, :64] + 0.5
    # turned clockwise by 90 degrees, width becomes height
    circle = ((x - 30) / 9) ** 2 + ((y - 20) / 15) ** 2 < 1
    difference = drawn(Polygons([ellipse((30, 20), (15, 9), 90)], SIZE)) != circle
    assert difference.sum() <= 6


def test_rings_inside_another_are_noticed():
    rings = [rectangle(2, 2, 30, 30), rectangle(5, 5, 9, 9), rectangle(12, 12, 20, 20)]
    assert Polygons(rings, SIZE).nested() and not Polygons(rings[:1], SIZE).nested()
    assert not Polygons([*rings, rectangle(40, 5, 45, 9)], SIZE).nested()


def test_runs_are_cocos():
    """Compressed and not, of random masks, of empty and full ones."""
    rng = np.random.default_rng(0)
    masks = [np.zeros(SIZE, np.uint8), np.ones(SIZE, np.uint8)]
    masks += [(rng.random(SIZE) < share).astype(np.uint8) for share in (0.02, 0.5, 0.98)]
    masks.append(np.kron(rng.integers(0, 2, (6, 4), np.uint8), np.ones((8, 16), np.uint8)))
    for mask in masks:
        text = coco.encode(np.asfortranarray(mask))['counts'].decode()
        shape = Runs(dict(size=list(SIZE), counts=text), SIZE)
        assert (drawn(shape) == mask).all() and shape.area == mask.sum()
        plain = Runs(dict(size=list(SIZE), counts=shape.runs.tolist()), SIZE)
        assert (drawn(plain) == mask).all()


@pytest.mark.parametrize(
    'counts, size, words',
    [
        ([5, 10], [48, 64], 'do not fill 64 x 48'),
        ([-5, 48 * 64 + 5], [48, 64], 'do not fill'),
        ('01400000', [48, 64], 'do not fill'),
        ('abc\x07', [48, 64], 'cannot be read|that can be read'),
        ('ü', [48, 64], 'that can be read'),
        (None, [48, 64], 'that can be read|do not fill'),
        ([48 * 64], [64, 48], 'got a mask of 48 x 64 pixels, the image has 64 x 48'),
    ],
)
def test_bad_runs(counts, size, words):
    with pytest.raises(ValueError, match=words):
        Runs(dict(size=size, counts=counts), SIZE)


@pytest.mark.parametrize(
    'ring, words',
    [
        ([(1, 1), (5, 5)], 'a polygon of 2 points'),
        ([(1, 1), (5, 5), (np.nan, 3)], 'NaN'),
        ([(0, 0.1), (1, 0.1), (0.4, 1)], 'all lie between 0 and 1, expected pixels of 64 x 48'),
        ([(1, 1), (5, 5), (3, 60)], r'the point \(3, 60\), which is outside of 64 x 48'),
        ([(-9, 1), (5, 5), (3, 40)], r'the point \(-9, 1\)'),
    ],
)
def test_bad_polygons(ring, words):
    with pytest.raises(ValueError, match=words):
        Polygons([np.array(ring, float)], SIZE)


def test_what_is_beyond_the_edge_is_cut():
    part = np.ones((6, 8), bool)
    expected = np.zeros(SIZE, np.uint8)
    expected[:4, 60:] = 1
    assert (drawn(Grid(part, SIZE, top=-2, left=60)) == expected).all()
    with pytest.raises(ValueError, match='outside of 64 x 48'):
        Grid(part, SIZE, top=50)


LABEL_STUDIOS = [
    *(0, 0, 0, 216, 57, 27, 254, 43, 0, 194, 127, 247, 192, 39, 255, 140, 2, 127, 251, 224, 24),
    *(79, 255, 37, 128, 71, 254),
]
"""Written by label-studio-sdk 2.1.2, ``converter.brush.encode_rle``, of the mask below."""


def test_brush_of_label_studio():
    mask = np.zeros((6, 9), bool)
    mask[1:4, 2:7], mask[2, 4], mask[5, 8] = True, False, True
    assert (decode_brush(LABEL_STUDIOS, 6, 9) == mask).all()


@pytest.mark.parametrize(
    'stored, words',
    [
        (LABEL_STUDIOS[:-3], 'ends too early'),
        ([], 'ends too early'),
        ([300], 'no list of bytes'),
        ('text', 'no list of bytes'),
        ([0, 0, 0, 99, *LABEL_STUDIOS[4:]], 'a brush of 24 pixels, expected 9 x 6'),
    ],
)
def test_bad_brush(stored, words):
    with pytest.raises(ValueError, match=words):
        decode_brush(stored, 6, 9)
