"""Files that windows are read from, and those that are refused."""

from functools import partial

import numpy as np
import pytest
import rasterio
import tifffile

from mmsam_peft.apis import inference_model
from mmsam_peft.apis.large_images import Settings, predict_large
from mmsam_peft.apis.large_images.opening import open_large
from mmsam_peft.datasets.image_files import read_image

SIZE = 90, 150
zarr = pytest.importorskip('zarr')
OLD = int(zarr.__version__.split('.')[0]) < 3  # of Python 3.10


def stored(path, shape, chunks, **more):
    """An empty Zarr array of bytes."""
    make = zarr.create_array if more else partial(zarr.open_array, mode='w')
    return make(path, shape=shape, chunks=chunks, dtype='uint8', **more)


def picture(bands: int = 3) -> np.ndarray:
    """(H, W, bands), uint8."""
    tile = np.random.default_rng(0).integers(0, 255, (9, 15, bands))
    return np.kron(tile, np.ones((10, 10, 1))).astype(np.uint8)


@pytest.mark.parametrize('kind', ['ome.tif', 'svs', 'ome.zarr', 'zarr', 'first.zarr'])
def test_microscopy_keeps_the_size_of_a_pixel(model, tmp_path, kind):
    made, image = model(classes=True), picture()
    path, first = tmp_path / f'a.{kind}', np.moveaxis(image, -1, 0)
    size = dict(PhysicalSizeX=0.25, PhysicalSizeXUnit='µm', PhysicalSizeY=0.5)
    if kind == 'ome.tif':
        with tifffile.TiffWriter(path, ome=True) as file:
            about = dict(axes='CYX', PhysicalSizeYUnit='µm', **size)
            file.write(first, tile=(32, 32), photometric='minisblack', metadata=about)
    elif kind == 'svs':
        tifffile.imwrite(path, image, tile=(32, 32), description='Aperio|MPP = 0.25', metadata=None)
    elif kind == 'ome.zarr':
        scale = [dict(type='scale', scale=[1, 1, 0.5, 0.25])]
        axes = [dict(name='c'), dict(name='z')]
        axes += [dict(name=name, unit='micrometer') for name in 'yx']
        level = dict(path='0', coordinateTransformations=scale)
        zarr.open_group(str(path), mode='w').attrs['ome'] = dict(
            multiscales=[dict(axes=axes, datasets=[level])]
        )
        stored(f'{path}/0', (3, 1, *SIZE), (1, 1, 32, 32))[:] = first[:, None]
    else:
        values = first if kind == 'first.zarr' else image
        chunks = (3, 32, 32) if kind == 'first.zarr' else (32, 32, 3)
        stored(str(path), values.shape, chunks)[:] = values
    expected = inference_model(made, np.ascontiguousarray(image[..., ::-1])).pred_sem_seg.data[0]
    out = predict_large(made, path, tmp_path / 'out')
    with tifffile.TiffFile(out) as file:
        assert (file.asarray() == expected.numpy()).mean() >= 0.9999 and file.pages[0].is_tiled
        pixels = tifffile.xml2dict(file.ome_metadata)['OME']['Image']['Pixels']
        known = {'ome.tif': (0.25, 0.5), 'svs': (0.25, 0.25), 'ome.zarr': (0.25, 0.5)}.get(kind)
        found = pixels.get('PhysicalSizeX'), pixels.get('PhysicalSizeY')
        assert found == (known or (None, None))
        assert file.pages[0].colormap[:, 2].tolist() == [9 * 257, 8 * 257, 7 * 257]


@pytest.mark.parametrize('suffix', ['tif', 'ome.tif'])
@pytest.mark.parametrize('kind', ['palette', 'miniswhite', 'alpha', 'minisblack'])
def test_pixels_are_those_that_training_reads(tmp_path, kind, suffix):
    """Of a TIFF that GDAL reads, and of one that tifffile and zarr do."""
    image, path, plain = picture(), tmp_path / f'a.{suffix}', tmp_path / 'plain.tif'
    alpha = np.full(SIZE, 255, np.uint8)
    options = dict(tile=(32, 32), photometric=kind)
    if kind == 'palette':
        table = np.random.default_rng(1).integers(0, 255, (3, 256)).astype(np.uint16) * 257
        options['colormap'] = table
    if kind == 'alpha':
        options.update(photometric='rgb', extrasamples=['unassalpha'])
        image = np.dstack([image, alpha])
    else:
        image = image[..., 0]
    tifffile.imwrite(plain, image, **options)
    tifffile.imwrite(path, image, **options, ome=suffix == 'ome.tif')
    expected = read_image(plain.read_bytes())[10:80, 20:140, ::-1]
    source = open_large(path)
    assert source.microscopy == (suffix == 'ome.tif')
    bands = range(source.header.bands)
    values, there = source.read((10, 80), (20, 140), bands)
    assert there.all() and (values == expected[..., : len(bands)]).all()
    if kind == 'alpha':
        image[30:40, 50:60, 3] = 0
        tifffile.imwrite(path, image, **options, ome=suffix == 'ome.tif')
        assert (open_large(path).read((0, 90), (0, 150), bands)[1] == (image[..., 3] > 0)).all()


@pytest.mark.parametrize('kind', ['svs', 'zarr', 'apart.zarr', *['shards.zarr'] * (not OLD)])
def test_chunks_that_are_not_there_are_no_image(model, tmp_path, kind):
    """One that some band has is there."""
    image, path = picture() // 2 + 1, tmp_path / f'a.{kind}'
    image[:, 64:] = 0
    image[:64, 64:96, 1] = 5
    shape, chunks, more = (*SIZE, 3), (32, 32, 3), {}
    if kind == 'svs':
        profile = dict(driver='GTiff', dtype='uint8', count=3, height=90, width=150)
        layout = dict(tiled=True, blockxsize=32, blockysize=32, sparse_ok=True)
        with rasterio.open(f'{path}.tif', 'w', **profile, **layout) as file:
            file.write(np.moveaxis(image, -1, 0))
        (tmp_path / 'a.svs.tif').rename(path)
    else:
        if kind == 'apart.zarr':
            image, shape, chunks = np.moveaxis(image, -1, 0), (3, *SIZE), (1, 32, 32)
        if kind == 'shards.zarr':
            more, chunks = dict(shards=(32, 32, 3)), (16, 16, 3)
        array = stored(str(path), shape, chunks, **more)
        for place in np.s_[:, :64], np.s_[:64, 64:96]:
            place = (slice(None), *place) if kind == 'apart.zarr' else place
            array[place] = image[place]
    mask = tifffile.imread(predict_large(model(classes=True), path, tmp_path / 'out'))
    there = np.zeros(SIZE, bool)
    there[:, :64] = there[:64, 64:96] = True
    assert (mask[there] < 3).all() and (mask[~there] == 255).all()


def test_what_is_refused(model, tmp_path):
    made, image = model(), picture()
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, image, extratags=[(274, 'H', 1, 6, True)])
    with pytest.raises(ValueError, match='turned when it is shown'):
        predict_large(made, path, tmp_path / 'out')
    tifffile.imwrite(path, np.stack([image, image]), photometric='rgb')
    with pytest.raises(ValueError, match='2 pictures in one file'):
        open_large(path)
    tifffile.imwrite(
        path, np.moveaxis(picture(4), -1, 0), planarconfig='separate', photometric='minisblack'
    )
    with pytest.raises(ValueError, match='in 4 bands.*--bands'):
        predict_large(made, path, tmp_path / 'out')
    with pytest.raises(ValueError, match='bands 1 to 4'):
        predict_large(made, path, tmp_path / 'out', Settings(bands=(5, 2, 1)))
    with tifffile.TiffWriter(tmp_path / 'two.ome.tif', ome=True) as file:
        for _ in range(2):
            file.write(image, photometric='rgb')
    with pytest.raises(ValueError, match='2 pictures of one size'):
        open_large(tmp_path / 'two.ome.tif')
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match='GDAL cannot open it'):
        open_large(path)
    with pytest.raises(FileNotFoundError):
        open_large(tmp_path / 'b.tif')
    with pytest.raises(ValueError, match='no Zarr array'):
        open_large(tmp_path)
    stored(str(tmp_path / 'b.zarr'), (2, 3, *SIZE), (1, 1, 9, 9))
    with pytest.raises(ValueError, match='4 axes'):
        open_large(tmp_path / 'b.zarr')
    huge = tmp_path / 'huge.tif'
    with rasterio.open(
        huge,
        'w',
        driver='GTiff',
        dtype='uint8',
        count=3,
        width=30000,
        height=30000,
        blockysize=8192,
        compress='deflate',
        interleave='pixel',
        sparse_ok=True,
    ):
        pass
    with pytest.raises(ValueError, match='rewrite the file in tiles'):
        open_large(huge)


@pytest.mark.parametrize('kind', ['tif', 'ome.tif', 'plain.ome.tif', 'zarr'])
def test_damage_is_named_and_leaves_no_mask(model, tmp_path, kind):
    path, compression = tmp_path / f'a.{kind}', None if kind.startswith('plain') else 'zlib'
    if kind == 'zarr':
        stored(str(path), (*SIZE, 3), (32, 32, 3))[:] = picture()
        damaged = path / ('1.1.0' if OLD else 'c/1/1/0')
    else:
        options = dict(photometric='rgb', compression=compression, ome='ome' in kind)
        tifffile.imwrite(path, picture(), tile=(32, 32), metadata=dict(axes='YXS'), **options)
        damaged = path
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises((OSError, ValueError), match=f'a.{kind}: .*copy'):
        predict_large(model(classes=True), path, tmp_path / 'out')
    assert not list(tmp_path.glob('out/*.tif'))


def test_what_is_missing_is_named(model, tmp_path, monkeypatch):
    from mmsam_peft.apis.large_images import source

    def absent(name):
        raise ImportError(f'No module named {name!r}')

    monkeypatch.setattr(source, 'import_module', absent)
    tifffile.imwrite(tmp_path / 'a.tif', picture())
    with pytest.raises(ImportError, match=r"pip install -e '\.\[large\]'"):
        predict_large(model(), tmp_path / 'a.tif', tmp_path / 'out')
