"""The range that is estimated, against NumPy's percentiles over the whole set."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmsam_peft.datasets.pixels import Pixels, survey, survey_pixels

RNG = np.random.default_rng(0)


@pytest.fixture
def files(tmp_path):
    """``files([array, ...])`` writes TIFFs and returns their paths."""

    def write(arrays: list[np.ndarray], **options) -> list[str]:
        paths = []
        for number, array in enumerate(arrays):
            paths.append(str(tmp_path / f'{number}.tif'))
            kind = dict(photometric='minisblack', metadata=None) | options
            kind |= dict(planarconfig='contig') if array.ndim == 3 else {}
            tifffile.imwrite(paths[-1], array, **kind)
        return paths

    return write


def test_percentiles_of_whole_numbers(files):
    arrays = [RNG.gamma(2, 500, (30, 40 + i, 4)).astype(np.uint16) for i in range(5)]
    arrays[0][0, 0] = 65535  # a single hot pixel
    found = survey_pixels(files(arrays))
    values = np.concatenate([array.reshape(-1, 4) for array in arrays])
    low, high = np.percentile(values, [0.5, 99.5], axis=0)
    assert found.pixels == dict(
        low=np.floor(low).tolist(),
        high=np.ceil(high).tolist(),
        bands=[1, 2, 3, 4],
        dtype='uint16',
    )
    assert Pixels.of(found.pixels).channels == 4 and max(found.pixels['high']) < 10000
    assert found.kinds == {'16-bit whole numbers (uint16) in 4 bands': 5}
    assert found.sampled == 5 and len(found.sizes) == 5
    assert 'pixels = dict(low=[' in str(found) and '40 to 44 pixels wide, 30 to 30' in str(found)
    chosen = survey_pixels(files(arrays), bands=[3, 1])
    assert chosen.pixels['low'] == np.floor(low[[2, 0]]).tolist()
    assert chosen.pixels['bands'] == [3, 1]


def test_a_large_set_is_sampled_within_bounds(files, monkeypatch):
    monkeypatch.setattr(survey, 'VALUES', 3000)
    monkeypatch.setattr(survey, 'IMAGES', 20)
    paths = files([RNG.normal(100 * i, 30, (30, 30)).astype(np.float32) for i in range(30)])
    first, again = survey_pixels(paths), survey_pixels(paths)
    assert first.pixels == again.pixels != survey_pixels(paths, seed=1).pixels
    assert first.sampled == 20 and first.kinds.total() == 30
    assert -100 < first.pixels['low'][0] < 400 and 2500 < first.pixels['high'][0] < 3000


def test_pixels_without_a_value_are_left_out_and_named(files):
    arrays = [RNG.normal(0, 1, (20, 20)).astype(np.float32) for _ in range(3)]
    values = np.concatenate([array.ravel() for array in arrays])
    holed = [np.concatenate([array, np.full((5, 20), -9999, np.float32)]) for array in arrays]
    holed[1][-1] = np.nan
    paths = files(holed, extratags=[(42113, 's', 0, '-9999', True)])
    found = survey_pixels(paths)
    low, high = np.percentile(values, [0.5, 99.5])
    np.testing.assert_allclose([found.pixels['low'][0], found.pixels['high'][0]], [low, high], 1e-5)
    assert found.pixels['nodata'] == [-9999, 'nan'] and found.without_value == 300
    assert '300 pixels without a value' in str(found)


def test_images_of_eight_bits_need_nothing(tmp_path):
    paths = [tmp_path / 'grey.png', tmp_path / 'rgb.jpg', tmp_path / 'damaged.png']
    Image.new('L', (8, 6), 3).save(paths[0])
    Image.new('RGB', (8, 6), (3, 4, 5)).save(paths[1])
    paths[2].write_bytes(b'no image')
    found = survey_pixels(paths)
    assert found.pixels == {} and 'no setting is needed' in str(found)
    assert list(found.unreadable) == [str(paths[2])] and 'damaged.png: got no image' in str(found)


def test_bytes_in_many_bands(files):
    found = survey_pixels(files([RNG.integers(0, 256, (9, 9, 5)).astype(np.uint8)]))
    assert found.pixels == dict(bands=[1, 2, 3, 4, 5])


def test_images_of_several_kinds_are_named(files, tmp_path):
    paths = files([np.ones((4, 4), np.uint16), np.ones((4, 4), np.float32)])
    with pytest.raises(ValueError, match=r'(?s)several kinds.*1 of 16-bit.*0\.tif.*1\.tif'):
        survey_pixels(paths)
    with pytest.raises(ValueError, match='band 1 has a single value'):
        survey_pixels(paths[:1])
    with pytest.raises(ValueError, match='none of 1 images can be read'):
        survey_pixels([tmp_path / 'absent.tif'])
    with pytest.raises(ValueError, match='no image has a pixel with a value'):
        survey_pixels(files([np.full((4, 4), np.nan, np.float32)]))
