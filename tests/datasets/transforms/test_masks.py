import io
import struct
import zlib

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmsam_peft.datasets import LoadMask
from mmsam_peft.datasets.image_files import read_image
from mmsam_peft.datasets.transforms import mask_to_classes

CLASSES = np.array([[0, 1, 1], [1, 0, 0]], dtype=np.uint8)


def as_jpeg(pixels: np.ndarray) -> Image.Image:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, 'jpeg', quality=40)
    return Image.open(content)


def palette_image(indices: np.ndarray, *colours: int) -> Image.Image:
    image = Image.fromarray(indices).convert('P')
    image.putpalette(colours)
    return image


@pytest.mark.parametrize(
    'image',
    [
        Image.fromarray(CLASSES),
        Image.fromarray(CLASSES.astype(np.uint16)),
        Image.fromarray(CLASSES.astype(np.int32)),
        Image.fromarray(CLASSES.astype(bool)),
        Image.fromarray(np.repeat(CLASSES[..., None], 3, axis=2)),
        palette_image(CLASSES, 9, 9, 9, 200, 0, 0),
    ],
    ids=['L', 'uint16', 'int32', 'bilevel', 'grey RGB', 'palette'],
)
def test_index_keeps_the_stored_numbers(image):
    result = mask_to_classes(image, 'index')
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, CLASSES)


def test_index_refuses_colours_and_numbers_above_a_byte():
    colours = np.zeros((2, 3, 3), np.uint8)
    colours[0, 0] = (255, 0, 0)
    with pytest.raises(ValueError, match='got colours.*mask_values'):
        mask_to_classes(Image.fromarray(colours))
    with pytest.raises(ValueError, match=r'got values 0 \.\. 300'):
        mask_to_classes(Image.fromarray(CLASSES.astype(np.uint16) * 300))


@pytest.mark.parametrize(
    'image',
    [
        Image.fromarray(CLASSES),
        Image.fromarray(CLASSES * 255),
        Image.fromarray(CLASSES.astype(bool)),
        Image.fromarray(CLASSES * 255).convert('RGBA'),
        Image.fromarray(CLASSES.astype(np.uint16) * 65535),
        palette_image(CLASSES, 0, 0, 0, 255, 255, 255),
    ],
    ids=['0/1', '0/255', 'bilevel', 'RGBA', 'uint16', 'palette'],
)
def test_binary01_takes_any_value_but_zero(image):
    np.testing.assert_array_equal(mask_to_classes(image, 'binary01'), CLASSES)


def test_binary255_splits_at_128():
    image = Image.fromarray(np.array([[0, 1, 127, 128, 254, 255]], dtype=np.uint8))
    assert mask_to_classes(image, 'binary255').tolist() == [[0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'LA', '1', 'P'])
def test_binary255_in_every_mode(mode):
    np.testing.assert_array_equal(
        mask_to_classes(Image.fromarray(CLASSES * 255).convert(mode), 'binary255'), CLASSES
    )


def test_binary255_tolerates_jpeg_noise():
    clean = np.kron(CLASSES, np.ones((16, 16), dtype=np.uint8))
    clean[5:9, 3:30] ^= 1
    stored = as_jpeg(clean * 255)
    assert len(np.unique(np.asarray(stored))) > 2
    np.testing.assert_array_equal(mask_to_classes(stored, 'binary255'), clean)


def test_colours_become_their_position_in_the_list():
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [0, 255, 0]], dtype=np.uint8)
    classes = np.random.default_rng(0).integers(0, 4, (7, 5))
    np.testing.assert_array_equal(
        mask_to_classes(Image.fromarray(colours[classes]), colours.tolist()), classes
    )
    in_palette = Image.fromarray(colours[classes]).quantize(4)
    np.testing.assert_array_equal(mask_to_classes(in_palette, colours.tolist()), classes)


def test_unlisted_colours_are_named():
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[1, 1] = (1, 2, 3)
    with pytest.raises(
        ValueError,
        match=r'got 1 pixels of colours such as \[1, 2, 3\], expected only the 2 colours',
    ):
        mask_to_classes(Image.fromarray(pixels), [[0, 0, 0], [9, 9, 9]])


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 1, 1: 255, 2: 0}])
def test_load_mask_relabels_like_mmseg(write, reduce_zero_label, label_map):
    path = write('a.png', np.array([[0, 1, 2], [3, 254, 255]], dtype=np.uint8))

    def sample():
        return dict(
            seg_map_path=str(path),
            reduce_zero_label=reduce_zero_label,
            label_map=label_map,
            seg_fields=[],
        )

    ours, theirs = LoadMask()(sample()), LoadAnnotations()(sample())
    np.testing.assert_array_equal(ours['gt_seg_map'], theirs['gt_seg_map'])
    assert ours['seg_fields'] == theirs['seg_fields'] == ['gt_seg_map']


def test_load_mask_passes_on_a_picture_without_mask():
    sample = dict(img_path='a.png')
    assert LoadMask()(sample) == dict(img_path='a.png')


@pytest.mark.parametrize('kept', [0, 30, -40])
def test_truncated_mask_is_named(write, kept):
    path = write('broken.png', np.random.default_rng(0).integers(0, 2, (64, 64), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match='broken.png'):
        LoadMask()(dict(seg_map_path=str(path)))


BAND = np.array([[0, 0, 0, 0, 1, 1, 1, 0]] * 4, np.uint8)
RED = np.where(BAND[..., None] == 1, (255, 0, 0), (255, 255, 255)).astype(np.uint8)
WHITE = np.full((4, 8, 3), 255, np.uint8)


@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('suffix', ['png', 'tiff'])
def test_masks_are_upright_like_their_images(turn, suffix):
    mask, content, exif = np.arange(12, dtype=np.uint8).reshape(3, 4), io.BytesIO(), Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(mask).save(content, suffix, exif=exif)
    image = read_image(content.getvalue())
    with Image.open(content) as stored:
        np.testing.assert_array_equal(mask_to_classes(stored), image[..., 0])
    assert (image[0, 0, 0] == 0) == (turn in (1, 5))


@pytest.mark.parametrize('values', ['binary255', 'binary01'])
@pytest.mark.parametrize('colours', [WHITE, RED], ids=['white', 'red on white'])
def test_the_colour_of_a_transparent_pixel_is_none(colours, values):
    image = Image.fromarray(np.dstack([colours, BAND * 255]))
    np.testing.assert_array_equal(mask_to_classes(image, values), BAND)
    nothing = Image.fromarray(np.dstack([colours, BAND * 0]))
    assert not mask_to_classes(nothing, values).any()
    everything = Image.fromarray(np.dstack([WHITE, BAND * 0 + 255]))
    assert mask_to_classes(everything, values).all()


@pytest.mark.parametrize(
    'pixels, values, message',
    [
        (
            np.dstack([RED, BAND * 255]),
            'index',
            'got 20 transparent pixels, which have no class number',
        ),
        (
            np.dstack([RED, BAND * 255]),
            [[0, 0, 0], [255, 0, 0]],
            'transparent pixels, which have no colour',
        ),
        (
            np.dstack([BAND * 255] * 3 + [BAND[:, ::-1] * 255]),
            'binary255',
            'beside black or several colours',
        ),
        (np.dstack([WHITE * 0, BAND * 255]), 'binary01', 'beside black or several colours'),
        (RED, 'binary255', 'got colours, expected black and white'),
        (BAND, 'binary255', 'got only the values 0 and 1, expected 0 and 255'),
        (BAND * 100, 'binary255', 'got only the values 0 and 100'),
        (BAND + 1, 'binary255', 'got only the values 1 and 2'),
        (np.where(BAND[::-1, ::-1] == 1, 255, BAND), 'binary255', 'values 0, 1 and 255.*index'),
        (np.where(BAND[::-1, ::-1] == 1, 255, BAND), 'binary01', 'values 0, 1 and 255.*index'),
        (BAND * np.float32(0.7), 'index', 'got fractions or NaN'),
        (BAND * np.float32(0.7), 'binary255', 'got fractions or NaN'),
        (np.where(BAND == 1, np.nan, 0).astype(np.float32), 'binary01', 'got fractions or NaN'),
        (BAND.astype(np.int32) * -1, 'binary01', 'got values from -1, expected none below 0'),
        (BAND.astype(np.uint16) * 256, [[0, 0, 0], [255, 0, 0]], 'more than 8 bits'),
    ],
)
def test_what_can_mean_two_things_is_refused(pixels, values, message):
    with pytest.raises(ValueError, match=message):
        mask_to_classes(Image.fromarray(pixels), values)


@pytest.mark.parametrize('values', ['index', 'binary01', [[0, 0, 0], [255, 255, 255]]])
def test_compressed_class_numbers_are_refused(values):
    with pytest.raises(
        ValueError, match="got a JPEG, whose compression changes values.*'binary255'"
    ):
        mask_to_classes(as_jpeg(CLASSES), values)


def test_palettes():
    """Colours decide, unless the numbers are asked for; black beside 0 leaves it open."""
    voc = palette_image(CLASSES, 0, 0, 0, 128, 0, 0)
    np.testing.assert_array_equal(mask_to_classes(voc, 'binary01'), CLASSES)
    with pytest.raises(ValueError, match='got colours'):
        mask_to_classes(voc, 'binary255')
    with pytest.raises(ValueError, match='palette in which 0 is not black'):
        mask_to_classes(palette_image(CLASSES, 255, 255, 255, 0, 0, 0), 'binary01')
    inverted = palette_image(CLASSES, 255, 255, 255, 0, 0, 0)
    np.testing.assert_array_equal(mask_to_classes(inverted, 'binary255'), 1 - CLASSES)


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_class_numbers_in_few_bits(bits):
    """Pillow stretches grey of 2 and 4 bits to 0 .. 255."""
    packed = {1: b'\x58', 2: b'\x1b', 4: b'\x01\x23', 8: bytes(range(4))}[bits]
    with Image.open(io.BytesIO(grey_png(packed, 4, bits))) as image:
        expected = [0, 1, 0, 1] if bits == 1 else [0, 1, 2, 3]
        assert mask_to_classes(image).tolist() == [expected]


def grey_png(row: bytes, width: int, bits: int) -> bytes:
    """A PNG of one row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    header = struct.pack('>IIBBBBB', width, 1, bits, 0, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(b'\0' + row))
        + chunk(b'IEND', b'')
    )


def test_the_nearest_colour_within_the_tolerance():
    """Each channel counts for itself; between two colours nothing is guessed."""
    pixels = np.array([[[9, 10, 0], [11, 0, 0], [245, 9, 3], [128, 0, 0], [20, 0, 0]]], np.uint8)
    values = dict(colours=[[0, 0, 0], [255, 0, 0], [30, 0, 0]], tolerance=10)
    assert mask_to_classes(Image.fromarray(pixels), values).tolist() == [[0, 255, 1, 255, 2]]
