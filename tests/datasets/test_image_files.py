import io

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from mmsam_peft.datasets.image_files import read_image, shown_size
from mmsam_peft.datasets.transforms import LoadImageFromFile
from mmsam_peft.registry import TRANSFORMS

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]


def encoded(image: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(content, kind, **options)
    return content.getvalue()


def deep(kind: str, channels: int, dtype=np.uint16) -> bytes:
    pixels = RNG.integers(0, 4096, (5, 7, channels)).astype(dtype)
    return cv2.imencode(kind, pixels)[1].tobytes()


@pytest.mark.parametrize('kind', ['jpeg', 'png', 'tiff', 'webp'])
@pytest.mark.parametrize('turn', range(9))
def test_as_mmcv_reads_them_and_upright(kind, turn):
    """Corners of the picture are where its EXIF orientation says, mirrored ones too."""
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(PIXELS, kind, exif=exif)
    image = read_image(content)
    np.testing.assert_array_equal(image, mmcv.imfrombytes(content))
    assert image.shape[:2] == ((7, 5) if turn > 4 else (5, 7)) == shown_size(content)
    assert image.flags.c_contiguous and image.dtype == np.uint8


@pytest.mark.parametrize('subsampling', [0, 1, 2])
def test_jpeg_as_mmcv_reads_it(subsampling):
    smooth = cv2.resize(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8), (161, 119))
    content = encoded(smooth, 'jpeg', quality=60, subsampling=subsampling, progressive=True)
    difference = read_image(content).astype(int) - mmcv.imfrombytes(content)
    assert abs(difference).max() <= 2  # another build of the decoder may round otherwise


@pytest.mark.parametrize('exif', [b'nothing', b'Exif\0\0II*\0\xff\xff\xff\xff'])
def test_damaged_exif_data_leave_an_image_as_it_is(exif):
    content = encoded(PIXELS, 'png', exif=exif)
    np.testing.assert_array_equal(read_image(content), PIXELS[..., ::-1])
    assert shown_size(content) == (5, 7)


@pytest.mark.parametrize(
    'image, kind, expected',
    [
        (GREY, 'png', GREY),
        (Image.fromarray(GREY > 99), 'tiff', (GREY > 99) * 255),
        (Image.fromarray(GREY).convert('P'), 'png', GREY),
        (np.dstack([GREY, GREY * 0 + 255]), 'png', GREY),
        (np.dstack([PIXELS, GREY * 0 + 255]), 'tiff', PIXELS),
    ],
    ids=['grey', 'bilevel', 'palette', 'LA', 'RGBA'],
)
def test_other_kinds(image, kind, expected):
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, 2)
    np.testing.assert_array_equal(read_image(encoded(image, kind)), expected[..., ::-1])


@pytest.mark.parametrize(
    'content, message',
    [
        (
            encoded(GREY.astype(np.uint16) * 16, 'png'),
            r'got 16-bit whole numbers \(uint16\) in 1 band.*, expected 8 bits, or the range',
        ),
        (encoded(GREY.astype(np.int32) - 50, 'tiff'), r'32-bit whole numbers \(int32\) in 1 band'),
        (encoded(GREY.astype(np.float32) / 255, 'tiff'), '32-bit floating-point numbers'),
        (deep('.png', 3), 'got 16-bit whole .* in 3 bands, expected 8'),
        (deep('.tif', 3), 'got 16-bit whole .* in 3 bands, expected 8'),
        (deep('.png', 4), 'got 16-bit whole .* in 3 bands and alpha, expected 8'),
        (deep('.tif', 3, np.float32), '32-bit floating-point numbers .* in 3 bands'),
        (encoded(Image.fromarray(PIXELS).convert('LAB'), 'tiff'), 'got bands L, A, B'),
        (
            encoded(PIXELS, 'tiff', save_all=True, append_images=[Image.fromarray(PIXELS)]),
            'TIFF of several pages',
        ),
        (
            encoded(PIXELS, 'gif', save_all=True, append_images=[Image.fromarray(PIXELS[::-1])]),
            'GIF of several pages',
        ),
        (b'', 'got an empty file'),
        (b'no image', 'got no image of a known format'),
    ],
)
def test_what_would_come_out_wrong_is_refused(content, message):
    for read in (read_image, shown_size):
        with pytest.raises(ValueError, match=message):
            read(content)


def test_transparency_is_refused_and_the_file_named(tmp_path):
    path = tmp_path / 'a b.png'
    path.write_bytes(encoded(np.dstack([PIXELS, GREY]), 'png'))
    with pytest.raises(ValueError, match=r'image .*a b\.png: got \d+ transparent pixels'):
        LoadImageFromFile()(dict(img_path=str(path)))
    assert LoadImageFromFile(ignore_empty=True)(dict(img_path=str(path))) is None


def test_smaller_copies_are_no_pages():
    """A photo's previews, and the overviews of a large TIFF."""
    small = Image.fromarray(PIXELS[::2])
    small.encoderinfo = dict(tiffinfo={254: 1})
    tiff = encoded(PIXELS, 'tiff', save_all=True, append_images=[small])
    with Image.open(io.BytesIO(tiff)) as image:
        assert image.n_frames == 2
    np.testing.assert_array_equal(read_image(tiff), PIXELS[..., ::-1])
    photo = encoded(PIXELS, 'mpo', save_all=True, append_images=[Image.fromarray(PIXELS[::2])])
    assert read_image(photo).shape == (5, 7, 3)


def test_every_config_gets_this_loader(tmp_path):
    loader = TRANSFORMS.build(dict(type='LoadImageFromFile', to_float32=True))
    assert type(loader) is LoadImageFromFile
    path = tmp_path / 'a.png'
    path.write_bytes(encoded(PIXELS, 'png'))
    sample = loader(dict(img_path=str(path)))
    assert sample['img'].dtype == np.float32 and sample['ori_shape'] == sample['img_shape'] == (
        5,
        7,
    )
    np.testing.assert_array_equal(sample['img'], PIXELS[..., ::-1])
