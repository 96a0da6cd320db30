"""Files whose values are easily taken for others."""

import numpy as np
import rasterio
import tifffile

from mmsam_peft.apis.large_images.opening import open_large


def test_a_band_without_a_block_does_not_hide_the_others(tmp_path):
    """Sparse files with bands apart leave out the blocks of a band that is zero there."""
    values = np.full((3, 64, 192), 9, np.uint8)
    values[0, :, 64:] = 0
    values[:, :, 128:] = 0
    shape = dict(count=3, height=64, width=192, blockxsize=64, blockysize=64)
    options = dict(tiled=True, interleave='band', sparse_ok=True, compress='deflate')
    path = tmp_path / 'a.tif'
    with rasterio.open(path, 'w', driver='GTiff', dtype='uint8', **shape, **options) as file:
        file.write(values)
    found, there = open_large(path).read((0, 64), (0, 192), (0, 1, 2))
    assert (found == np.moveaxis(values, 0, -1)).all()
    assert there[:, :128].all() and not there[:, 128:].any()


def test_white_is_zero_of_a_microscope_is_turned(tmp_path):
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    path = tmp_path / 'a.ome.tif'
    tifffile.imwrite(path, values, tile=(32, 32), photometric='miniswhite', ome=True)
    found, _ = open_large(path).read((0, 64), (0, 64), (0,))
    assert (found[..., 0] == 65535 - values).all()
