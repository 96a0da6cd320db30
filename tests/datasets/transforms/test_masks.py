import io

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmsam_peft.datasets import LoadMask
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


@pytest.mark.parametrize('image', [
    Image.fromarray(CLASSES),
    Image.fromarray(CLASSES.astype(np.uint16)),
    Image.fromarray(CLASSES.astype(np.int32)),
    Image.fromarray(CLASSES.astype(bool)),
    Image.fromarray(np.repeat(CLASSES[..., None], 3, axis=2)),
    palette_image(CLASSES, 9, 9, 9, 200, 0, 0),
], ids=['L', 'uint16', 'int32', 'bilevel', 'grey RGB', 'palette'])
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


@pytest.mark.parametrize('image', [
    Image.fromarray(CLASSES),
    Image.fromarray(CLASSES * 255),
    Image.fromarray(CLASSES.astype(bool)),
    Image.fromarray(CLASSES * 255).convert('RGBA'),
    Image.fromarray(CLASSES.astype(np.uint16) * 65535),
    palette_image(CLASSES, 0, 0, 0, 255, 255, 255),
], ids=['0/1', '0/255', 'bilevel', 'RGBA', 'uint16', 'palette'])
def test_binary01_takes_any_value_but_zero(image):
    np.testing.assert_array_equal(mask_to_classes(image, 'binary01'), CLASSES)


def test_binary255_splits_at_128():
    image = Image.fromarray(np.array([[0, 1, 127, 128, 254, 255]], dtype=np.uint8))
    assert mask_to_classes(image, 'binary255').tolist() == [[0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'LA', '1', 'P'])
def test_binary255_in_every_mode(mode):
    np.testing.assert_array_equal(mask_to_classes(Image.fromarray(CLASSES * 255).convert(mode), 'binary255'), CLASSES)


def test_binary255_tolerates_jpeg_noise():
    clean = np.kron(CLASSES, np.ones((16, 16), dtype=np.uint8))
    clean[5:9, 3:30] ^= 1
    stored = as_jpeg(clean * 255)
    assert len(np.unique(np.asarray(stored))) > 2
    np.testing.assert_array_equal(mask_to_classes(stored, 'binary255'), clean)


def test_colours_become_their_position_in_the_list():
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [0, 255, 0]], dtype=np.uint8)
    classes = np.random.default_rng(0).integers(0, 4, (7, 5))
    np.testing.assert_array_equal(mask_to_classes(Image.fromarray(colours[classes]), colours.tolist()), classes)
    in_palette = Image.fromarray(colours[classes]).quantize(4)
    np.testing.assert_array_equal(mask_to_classes(in_palette, colours.tolist()), classes)


def test_unlisted_colours_are_named():
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[1, 1] = (1, 2, 3)
    with pytest.raises(ValueError, match=r'got 1 pixels of colours such as \[1, 2, 3\], expected only the 2 colours'):
        mask_to_classes(Image.fromarray(pixels), [[0, 0, 0], [9, 9, 9]])


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 1, 1: 255, 2: 0}])
def test_load_mask_relabels_like_mmseg(write, reduce_zero_label, label_map):
    path = write('a.png', np.array([[0, 1, 2], [3, 254, 255]], dtype=np.uint8))

    def sample():
        return dict(seg_map_path=str(path), reduce_zero_label=reduce_zero_label, label_map=label_map, seg_fields=[])

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
