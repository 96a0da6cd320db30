"""Masks of three regions, stored in every way, are understood, and read back as they were."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from mmsam_peft.datasets import DatasetError
from mmsam_peft.datasets.survey.encodings import as_said, find_encoding
from mmsam_peft.datasets.survey.looks import MaskLook, look_at
from mmsam_peft.datasets.survey.objects import facts_of, summarise
from mmsam_peft.datasets.transforms import mask_to_classes

TRUTH = np.zeros((120, 160), np.uint8)
TRUTH[20:60, 20:100], TRUTH[80:110, 60:140] = 1, 2
BINARY = (TRUTH > 0).astype(np.uint8)
COLOURS = np.array([[0, 0, 0], [0, 0, 255], [255, 0, 0]], np.uint8)


def stored(image: Image.Image, kind: str = 'PNG', **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(mask) -> Image.Image:
    return Image.fromarray(np.asarray(mask, np.uint8))


def palette(mask) -> Image.Image:
    image = grey(mask).convert('P')
    image.putpalette([10, 10, 10, 0, 200, 0, 0, 0, 200])
    return image


def with_ignored(mask):
    mask = mask.copy()
    mask[:5] = 255
    return mask


CASES = dict(
    zero_one=(stored(grey(BINARY)), 'index', BINARY),
    black_white=(stored(grey(255 * BINARY)), 'binary255', BINARY),
    one_bit=(stored(grey(255 * BINARY).convert('1')), 'index', BINARY),
    other_value=(stored(grey(38 * BINARY)), 'binary01', BINARY),
    binary_ignored=(stored(grey(with_ignored(BINARY))), 'index', with_ignored(BINARY)),
    numbers=(stored(grey(TRUTH)), 'index', TRUTH),
    numbers_ignored=(stored(grey(with_ignored(TRUTH))), 'index', with_ignored(TRUTH)),
    grey_in_rgb=(stored(grey(TRUTH).convert('RGB')), 'index', TRUTH),
    sixteen_bit=(stored(Image.fromarray(TRUTH.astype(np.uint16))), 'index', TRUTH),
    palette=(stored(palette(TRUTH)), 'index', TRUTH),
    colours=(stored(Image.fromarray(COLOURS[TRUTH])), COLOURS.tolist(), TRUTH),
    grey_codes=(
        stored(grey(np.array([0, 128, 255])[TRUTH])),
        [[0] * 3, [128] * 3, [255] * 3],
        TRUTH,
    ),
    jpeg=(stored(grey(255 * BINARY), 'JPEG', quality=75), 'binary255', BINARY),
    soft=(stored(grey(cv2.blur(255 * BINARY, (3, 3)))), 'binary255', BINARY),
    alpha=(
        stored(
            Image.fromarray(np.dstack([np.full((*BINARY.shape, 3), 200, np.uint8), 255 * BINARY]))
        ),
        'binary255',
        BINARY,
    ),
    jpeg_colours=(stored(Image.fromarray(COLOURS[TRUTH]), 'JPEG', quality=90), None, TRUTH),
    soft_colours=(stored(Image.fromarray(cv2.blur(COLOURS[TRUTH], (3, 3)))), None, TRUTH),
)


@pytest.mark.parametrize('name', CASES)
def test_encodings(name):
    content, values, truth = CASES[name]
    found = find_encoding(look_at(content))
    blended = values is None
    if blended:
        values = dict(colours=COLOURS.tolist(), tolerance=40)
    assert found.mask_values == values
    assert len(found.classes) == len(np.unique(truth[truth != 255]))
    assert (found.doubt is not None) == (name == 'grey_codes')
    with Image.open(io.BytesIO(content)) as image:
        read = mask_to_classes(image, found.mask_values)
    if blended:  # what is ignored is of mixed colour, and nothing gets another class
        inside = (
            cv2.erode((cv2.Laplacian(TRUTH, cv2.CV_16S) == 0).astype(np.uint8), np.ones((3, 3))) > 0
        )
        assert (read[inside] == truth[inside]).mean() > 0.99
        assert set(np.unique(read[read != truth])) <= {255}
    else:
        edge = 8 if name == 'soft' else 0  # its eight corners
        assert (read != truth).sum() <= edge


def test_names_of_colours_and_stored_palettes():
    assert find_encoding(look_at(CASES['colours'][0])).classes == ('background', 'blue', 'red')
    assert find_encoding(look_at(CASES['palette'][0])).palette == (
        (10, 10, 10),
        (0, 200, 0),
        (0, 0, 200),
    )


def test_values_of_all_files_count_together():
    look = MaskLook()
    for mask in (TRUTH == 1, 2 * (TRUTH == 2)):
        look.join(look_at(stored(grey(mask))))
    assert find_encoding(look).classes == ('background', 'class 1', 'class 2')


@pytest.mark.parametrize(
    'mask, said',
    [
        (np.zeros((8, 8)), 'got only the value 0'),
        (np.arange(64).reshape(8, 8) * 4, 'different values from 0 to 252'),
        (np.random.default_rng(0).integers(0, 255, (64, 64, 3)), 'no few stand out'),
    ],
)
def test_what_is_no_mask_is_refused(mask, said):
    with pytest.raises(DatasetError, match=said):
        find_encoding(look_at(stored(grey(mask))))


def test_a_person_may_say_otherwise():
    look = look_at(CASES['grey_codes'][0])
    assert as_said('binary01', look).classes == ('background', 'object')
    with pytest.raises(DatasetError, match="got mask_values='indices'"):
        as_said('indices', look)


def test_shares_and_sizes():
    """A strip of 10 px across the image and a disc of 40 in one mask, nothing in the other."""
    mask = np.zeros((100, 200), np.uint8)
    mask[10:20] = 1
    cv2.circle(mask, (100, 60), 20, 2, -1)
    facts = summarise([facts_of(mask), facts_of(np.zeros((100, 200), np.uint8))], 3)
    disc = (mask == 2).sum()
    assert facts.shares == pytest.approx([1 - (2000 + disc) / 40000, 2000 / 40000, disc / 40000])
    assert facts.in_images.tolist() == [2, 1, 1] and facts.empty == 1 and facts.per_image == 2
    number, width = facts.narrowest
    assert number == 1 and width == pytest.approx(10, rel=0.25)
    assert facts.diameter[0] == pytest.approx(40, rel=0.03)


def test_large_masks_are_thinned_out_alike():
    mask = np.zeros((500, 5000), np.uint8)
    mask[100:160] = 1
    ((number, area, width),) = facts_of(mask).objects
    assert number == 1 and area == pytest.approx(60 * 5000, rel=0.03)
    assert width == pytest.approx(60, rel=0.15)
