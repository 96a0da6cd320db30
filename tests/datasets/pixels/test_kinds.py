"""Each kind of pixels against arrays that other programs have written, and values by formula."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmsam_peft.datasets.image_files import as_picture, read_image, shown_size
from mmsam_peft.datasets.pixels import Pixels
from mmsam_peft.datasets.pixels.pillow import turned
from mmsam_peft.datasets.transforms import LoadImageFromFile, LoadImageFromNDArray

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 4096, (5, 7, 6)).astype(np.uint16)
BYTES = RNG.integers(0, 256, (5, 7, 6), dtype=np.uint8)
REAL = RNG.normal(10, 30, (5, 7, 6)).astype(np.float32)
LOW, HIGH = 100, 4000


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def tif(array: np.ndarray, **options) -> bytes:
    content = io.BytesIO()
    grey = array.ndim == 2 or array.shape[-1] != 3
    options = dict(photometric='minisblack' if grey else 'rgb', metadata=None) | options
    tifffile.imwrite(content, array, **options)
    return content.getvalue()


def opencv(kind: str, array: np.ndarray, *options) -> bytes:
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(array.shape[-1] if array.ndim == 3 else 1)
    return cv2.imencode(kind, array if order is None else array[..., order], options)[1].tobytes()


def expected(array: np.ndarray, low=LOW, high=HIGH) -> np.ndarray:
    """By the formula, as blue, green, red and further bands."""
    array = array.reshape(*array.shape[:2], -1).astype(np.float64)
    scaled = np.clip(255 * (array - low) / (np.asarray(high, float) - low), 0, 255)
    count = array.shape[2]
    return scaled[..., [0, 0, 0] if count == 1 else [2, 1, 0, *range(3, count)]]


LZW, DEFLATE = [int(cv2.IMWRITE_TIFF_COMPRESSION), 5], dict(compression='zlib', predictor=True)
PLANES = dict(planarconfig='separate')
DEEP_FILES = {
    'grey PNG': (opencv('.png', DEEP[..., 0]), DEEP[..., :1]),
    'RGB PNG': (opencv('.png', DEEP[..., :3]), DEEP[..., :3]),
    'grey TIFF': (tif(DEEP[..., 0]), DEEP[..., :1]),
    'grey TIFF, deflate': (tif(DEEP[..., 0], **DEFLATE), DEEP[..., :1]),
    'grey TIFF, LZW': (opencv('.tif', DEEP[..., 0], *LZW), DEEP[..., :1]),
    'grey, big-endian, deflate': (tif(DEEP[..., 0], byteorder='>', **DEFLATE), DEEP[..., :1]),
    'big-endian TIFF': (tif(DEEP[..., 0], byteorder='>'), DEEP[..., :1]),
    'BigTIFF': (tif(DEEP[..., :3], bigtiff=True), DEEP[..., :3]),
    'RGB TIFF, LZW': (opencv('.tif', DEEP[..., :3], *LZW), DEEP[..., :3]),
    'RGB TIFF, big-endian, deflate': (
        tif(DEEP[..., :3], byteorder='>', **DEFLATE),
        DEEP[..., :3],
    ),
    'RGB TIFF, tiles': (tif(DEEP[..., :3], tile=(16, 16)), DEEP[..., :3]),
    '4 bands': (tif(DEEP[..., :4], planarconfig='contig'), DEEP[..., :4]),
    '6 bands': (tif(DEEP, planarconfig='contig'), DEEP),
    '6 planes': (tif(np.moveaxis(DEEP, -1, 0).copy(), **PLANES), DEEP),
    '6 planes, deflate': (tif(np.moveaxis(DEEP, -1, 0).copy(), **PLANES, **DEFLATE), DEEP),
    'white is zero': (tif(65535 - DEEP[..., 0], photometric='miniswhite'), DEEP[..., :1]),
    'NPY': (npy(DEEP), DEEP),
    'NPY, big-endian, by columns': (npy(np.asfortranarray(DEEP.astype('>u2'))), DEEP),
    'NPY, int64 free': (npy(DEEP.astype(np.int32)), DEEP),
    'alpha that hides nothing': (
        tif(
            np.dstack([DEEP[..., :3], DEEP[..., 0] * 0 + 65535]),
            extrasamples=['unassalpha'],
            photometric='rgb',
        ),
        DEEP[..., :3],
    ),
}


@pytest.mark.parametrize('kind', DEEP_FILES)
def test_sixteen_bits(kind):
    content, array = DEEP_FILES[kind]
    chosen = dict(bands=[*range(1, array.shape[2] + 1)]) if array.shape[2] > 3 else {}
    pixels = dict(low=LOW, high=HIGH, **chosen)
    image = read_image(content, pixels)
    assert image.dtype == np.float32 and image.flags.c_contiguous
    np.testing.assert_allclose(image, expected(array), atol=1e-4)
    assert (np.modf(image)[0] > 0).sum() > 20  # nothing is rounded to 8 bits
    assert shown_size(content, pixels) == (5, 7)


@pytest.mark.parametrize(
    'content, array',
    [
        (tif(REAL[..., 0]), REAL[..., :1]),
        (tif(REAL[..., 0], byteorder='>', **DEFLATE), REAL[..., :1]),
        (tif(REAL[..., :3], **DEFLATE), REAL[..., :3]),
        (opencv('.tif', REAL[..., :3]), REAL[..., :3]),
        (tif(REAL.astype(np.float64)[..., 0]), REAL[..., :1]),
        (npy(REAL[..., :3].astype(np.float16)), REAL[..., :3].astype(np.float16)),
        (tif(REAL[..., 0].astype(np.int16)), REAL[..., :1].astype(np.int16)),
        (npy(REAL[..., 0].astype(np.int8)), REAL[..., :1].astype(np.int8)),
        (tif(np.uint32(REAL[..., 0] + 3e9)), np.uint32(REAL[..., :1] + 3e9) - 3e9),
    ],
    ids=['float', 'MM', 'RGB', 'OpenCV', 'double', 'half', 'int16', 'int8', 'uint32'],
)
def test_other_numbers(content, array):
    shift = 3e9 if 'uint32' in str(tiff_type(content)) else 0
    pixels = dict(low=-20.5 + shift, high=60 + shift)
    np.testing.assert_allclose(read_image(content, pixels), expected(array, -20.5, 60), atol=2e-4)


def tiff_type(content: bytes):
    return None if content[:1] == b'\x93' else tifffile.imread(io.BytesIO(content)).dtype


@pytest.mark.parametrize(
    'content, array',
    [
        (npy(BYTES[..., :3]), BYTES[..., :3]),
        (npy(BYTES[..., 0]), BYTES[..., [0, 0, 0]]),
        (tif(np.moveaxis(BYTES[..., :3], -1, 0).copy(), **PLANES), BYTES[..., :3]),
        (tif(BYTES[..., 0], photometric='miniswhite'), 255 - BYTES[..., [0, 0, 0]]),
        (tif(BYTES[..., :3], **DEFLATE), BYTES[..., :3]),
    ],
    ids=['NPY', 'grey NPY', 'planes', 'white is zero', 'predictor'],
)
def test_eight_bits_need_no_setting(content, array):
    image = read_image(content)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, array[..., ::-1])
    np.testing.assert_array_equal(as_picture(image), array)


def test_bands_are_chosen_by_number():
    content = tif(BYTES, planarconfig='contig')
    np.testing.assert_array_equal(read_image(content, dict(bands=[3, 2, 1])), BYTES[..., [0, 1, 2]])
    four = read_image(content, dict(bands=[3, 2, 1, 6], low=0, high=[255, 255, 255, 51]))
    np.testing.assert_allclose(four[..., :3], BYTES[..., :3], atol=1e-4)
    np.testing.assert_allclose(four[..., 3], np.minimum(BYTES[..., 5] * 5.0, 255), atol=1e-4)
    two = read_image(content, dict(bands=[5, 2]))
    np.testing.assert_array_equal(two, BYTES[..., [4, 4, 4, 1]])
    np.testing.assert_array_equal(as_picture(two), BYTES[..., [4, 4, 4]])
    fourth = np.dstack([BYTES[..., :3], BYTES[..., 3]])
    content = opencv('.png', fourth)  # infrared where others have transparency
    assert (read_image(content, dict(bands=[1, 2, 3, 4])) == fourth[..., [2, 1, 0, 3]]).all()


@pytest.mark.parametrize('number', range(9))
def test_orientation_of_tiffs_as_pillow_turns_them(number):
    """An 8-bit file by Pillow, the same of 16 bits by tifffile, and PNG by OpenCV."""
    tag = [(274, 'H', 1, number, True)]
    pillow = read_image(tif(BYTES[..., :3], extratags=tag))
    deep = BYTES[..., :3].astype(np.uint16)
    pixels = dict(low=0, high=255)
    np.testing.assert_allclose(read_image(tif(deep, extratags=tag), pixels), pillow, atol=1e-4)
    assert shown_size(tif(deep, extratags=tag), pixels) == pillow.shape[:2]
    exif = Image.Exif()
    exif[274] = number
    chunk = struct.pack('>I', len(exif.tobytes()) - 6) + b'eXIf' + exif.tobytes()[6:]
    png = opencv('.png', deep)
    png = png[:33] + chunk + struct.pack('>I', zlib.crc32(chunk[4:])) + png[33:]
    np.testing.assert_allclose(read_image(png, pixels), pillow, atol=1e-4)
    assert turned(BYTES, number).shape[:2] == pillow.shape[:2]


def with_nodata(array: np.ndarray, value: str) -> bytes:
    return tif(array, extratags=[(42113, 's', 0, value, True)])


def test_pixels_without_a_value_are_declared_or_refused():
    real = REAL[..., 0].copy()
    real[0, :3], real[1, 1] = np.nan, -9999
    content = with_nodata(real, '-9999')
    pixels = dict(low=-20, high=60)
    with pytest.raises(ValueError, match=r'got 1 pixels without a value \(-9999\).*nodata=-9999'):
        read_image(content, dict(pixels, nodata='nan'))
    with pytest.raises(ValueError, match=r"got 3 pixels without a value \(nan\).*nodata='nan'"):
        read_image(content, dict(pixels, nodata=-9999))
    image = read_image(content, dict(pixels, nodata=[-9999, 'nan']))
    holes = np.isnan(real) | (real == -9999)
    assert (image[holes] == 0).all()
    np.testing.assert_allclose(image[~holes], expected(real, -20, 60)[~holes], atol=1e-4)
    real[2, 2] = np.inf
    with pytest.raises(ValueError, match='got 1 pixels .*inf.*fill them'):
        read_image(npy(real), dict(pixels, nodata=[-9999, 'nan']))


def test_a_mask_inside_of_a_tiff_hides_pixels():
    """As GDAL writes one: a page of its own, of one bit."""
    for pixels, array in ((None, BYTES[..., :3]), (dict(low=0, high=9), DEEP[..., :3])):
        for hidden in (0, 4):
            there = np.ones((5, 7), bool)
            there[0, :hidden] = False
            content = io.BytesIO()
            with tifffile.TiffWriter(content) as writer:
                writer.write(array, photometric='rgb', metadata=None)
                writer.write(there, photometric=4, subfiletype=4, metadata=None)
            if hidden:
                with pytest.raises(ValueError, match='got 4 transparent pixels'):
                    read_image(content.getvalue(), pixels)
            else:
                assert read_image(content.getvalue(), pixels).shape == (5, 7, 3)


def test_a_geotiff_of_bytes_whose_black_means_nothing():
    holed = np.maximum(BYTES[..., :3], 1)
    holed[0, 0], holed[1, 1, 0] = 0, 0  # the second is dark red only
    content = with_nodata(holed, '0')
    with pytest.raises(ValueError, match='got 1 pixels without a value .0.*nodata=0'):
        read_image(content)
    np.testing.assert_array_equal(read_image(content, dict(nodata=0)), holed[..., ::-1])


@pytest.mark.parametrize(
    'content, pixels, message',
    [
        (tif(DEEP, planarconfig='contig'), None, r'in 6 bands, expected grey or RGB: choose by'),
        (npy(DEEP), dict(low=0, high=9), 'in 6 bands, expected grey or RGB'),
        (npy(DEEP), dict(low=[0] * 5, high=9), r'6 bands, expected 5, as many as pixels\.low'),
        (npy(DEEP), dict(bands=[7]), r'6 bands, expected 7 at least: correct pixels\.bands'),
        (npy(DEEP[..., :3]), dict(low=0, high=9, dtype='uint8'), 'expected uint8 as pixels.dtype'),
        (npy(BYTES[..., :3]), dict(low=0, high=4000), 'is of other images'),
        (npy(np.moveaxis(np.zeros((40, 50, 3), np.uint8), -1, 0)), None, 'bands first'),
        (npy(DEEP[None]), None, 'array of 1 x 5 x 7 x 6, expected height x width'),
        (npy(DEEP > 9), None, 'values of type bool'),
        (npy(np.array([['a']])), None, 'values of type str'),
        (npy(np.array([[None]])), None, 'values of type object'),
        (npy(DEEP)[:150], dict(low=0, high=9, bands=[1]), 'damaged NPY'),
        (tif(DEEP[..., :3])[:-9], dict(low=0, high=9), 'damaged TIFF'),
        (opencv('.png', DEEP[..., :3])[:200], dict(low=0, high=9), 'PNG|truncated'),
        (tif(DEEP.transpose(2, 0, 1)[:3].copy()), dict(low=0, high=9), 'several pages|of 3 pages'),
        (
            tif(np.dstack([DEEP[..., :4]]), extrasamples=['unassalpha'], photometric='rgb'),
            dict(low=0, high=9),
            r'got \d+ transparent pixels',
        ),
        (tif(DEEP[..., :4], photometric='separated'), dict(low=0, high=9), 'SEPARATED'),
        (tif(DEEP[..., 0], subfiletype=1), dict(low=0, high=9), 'small copy'),
        (b'\0' * 128 + b'DICM' + b'\0' * 400, None, 'got a DICOM file.*export'),
        (b'%PDF-1.7 ...', None, 'got a PDF'),
        (b'<?xml version="1.0"?>\n<svg xmlns="...">', None, 'got an SVG'),
        (b'\0\0\0\x18ftypheic\0\0\0\0', None, 'got a HEIC'),
        (b'\0\0\0\x18ftypisom\0\0\0\0', None, 'got a video'),
        (b'\0\0\0\x18ftypcrx \0\0\0\0', None, 'raw file of a camera'),
        (b'\x1a\x45\xdf\xa3....', None, 'got a video'),
        (b'PK\x03\x04....', None, 'ZIP archive, or an NPZ'),
        (b'II+\0nothing here', None, 'damaged TIFF'),
        (tif(np.zeros((2, 2), np.complex64)), dict(low=0, high=9), 'complex64'),
    ],
)
def test_what_is_refused(content, pixels, message):
    with pytest.raises(ValueError, match=message):
        read_image(content, pixels)


def test_an_image_too_large_to_read(monkeypatch):
    """Its header says so; nothing is decoded."""
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1), np.uint8))
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {**header, 'shape': (30000, 30000)})
    with pytest.raises(ValueError, match='too large to read at once'):
        read_image(content.getvalue())
    png = bytearray(opencv('.png', BYTES[..., 0]))
    png[16:24] = struct.pack('>II', 30000, 30000)
    png[29:33] = struct.pack('>I', zlib.crc32(bytes(png[12:29])))
    with pytest.raises(ValueError, match='too large to read at once'):
        read_image(bytes(png))


@pytest.mark.parametrize(
    'setting, message',
    [
        (dict(low=0), 'set both or none'),
        (dict(low=5, high=5), 'low must be below'),
        (dict(low=[0, 0], high=[1, 2, 3]), 'one number for each chosen band'),
        (dict(low=float('nan'), high=1), 'finite numbers'),
        (dict(bands=[0]), 'the first is 1'),
        (dict(bands=[]), 'the first is 1'),
        (dict(nodata='none'), 'expected a number'),
        (dict(dtype='int64'), 'expected one of uint8'),
        (dict(lows=1), 'has no lows: it has low, high'),
        ('auto', 'expected a dict of low'),
    ],
)
def test_settings_that_cannot_be(setting, message):
    with pytest.raises(ValueError, match=message):
        Pixels.of(setting)


@pytest.mark.parametrize('array', [DEEP[..., :3], DEEP[..., 0], DEEP[..., :5]])
def test_an_array_is_taken_as_its_file(tmp_path, array):
    """Three bands as OpenCV reads them; a chosen set in the order of the file."""
    count = array.shape[2] if array.ndim == 3 else 1
    pixels = dict(low=LOW, high=HIGH, **(dict(bands=[3, 2, 1, 5]) if count == 5 else {}))
    (tmp_path / 'a.npy').write_bytes(npy(array))
    file = LoadImageFromFile(pixels=pixels)(dict(img_path=str(tmp_path / 'a.npy')))
    given = array[..., ::-1] if count == 3 else array
    found = LoadImageFromNDArray(pixels=pixels)(dict(img=given))
    np.testing.assert_array_equal(found['img'], file['img'])
    assert found['ori_shape'] == file['ori_shape'] == (5, 7)
