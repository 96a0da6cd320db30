"""Large images predicted from the disk are what the whole image predicted at once is."""

import errno
import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from mmengine.config import ConfigDict
from tiny_encoders import TINY_SAM2, TINY_SAM3

from mmsam_peft.apis import inference_model
from mmsam_peft.apis.large_images import Settings, predict_large
from mmsam_peft.apis.large_images import prediction as module
from mmsam_peft.apis.large_images.grid import Axis
from mmsam_peft.apis.large_images.raster import Raster
from mmsam_peft.apis.large_images.sums import Sums
from mmsam_peft.registry import MODELS

UTM, NORTH_UP = 'EPSG:32633', Affine(0.5, 0, 500000, 0, -0.5, 5400000)
NAMES = ('background', 'disc', 'ring')
STEPS = [dict(type='LoadMask'), dict(type='PackSegInputs')]


def pixels(height: int, width: int, bands: int = 3, dtype: str = 'uint8') -> np.ndarray:
    """(bands, height, width) of coarse squares."""
    top = np.iinfo(dtype).max
    tile = np.random.default_rng(0).integers(0, top, (bands, height // 9 + 1, width // 9 + 1))
    return np.kron(tile, np.ones((1, 9, 9)))[:, :height, :width].astype(dtype)


def geotiff(path, values, **profile):
    bands, height, width = values.shape
    given = dict(crs=UTM, transform=NORTH_UP, tiled=True, blockxsize=32, blockysize=32)
    given.update(driver='GTiff', dtype=values.dtype, count=bands, height=height, width=width)
    with rasterio.open(path, 'w', **{**given, **profile}) as file:
        file.write(values)
    return path


def read(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize('size', [(97, 150), (64, 64), (40, 131), (172, 65)])
@pytest.mark.parametrize('classes', [False, True])
def test_equals_the_whole_image(model, tmp_path, size, classes):
    """Borders included: the stride of 43 divides none of the sizes, and one is below a window."""
    made = model(classes=classes)
    path = geotiff(tmp_path / 'image.tif', pixels(*size))
    expected = inference_model(made, str(path)).pred_sem_seg.data[0].numpy()
    assert len(np.unique(expected)) > 1, np.bincount(expected.ravel())
    for batch in (1, 3):
        mask = read(predict_large(made, path, tmp_path / f'out{batch}', batch_size=batch))
        assert (mask == expected).mean() >= 0.9999


@pytest.mark.parametrize('factor', [0.6, 1.7])
def test_equals_the_whole_image_at_another_scale(model, tmp_path, factor):
    """The picture is scaled, and the logits are scaled back, as if there were no windows."""
    scaling = dict(type='Resize', scale_factor=factor, interpolation='bicubic')
    pipeline = [dict(type='LoadImageFromFile'), scaling, *STEPS]
    made = model({'test_pipeline': pipeline}, classes=True)
    path = geotiff(tmp_path / 'image.tif', pixels(151, 203))
    expected = inference_model(made, str(path)).pred_sem_seg.data[0].numpy()
    mask = read(predict_large(made, path, tmp_path / 'out'))
    assert (mask == expected).mean() >= 0.9999


def test_one_task_of_several(tiny, randomise, tmp_path):
    """A per-task encoder computes for that task alone."""
    tasks = [
        dict(type='Depth', name='depth'),
        dict(type='SemanticSegmentation', name='seg', num_classes=4),
    ]
    arch = dict(embed_dim=32, depth=1, num_heads=2, global_attn_indexes=(0,), out_channels=32)
    made = dict(
        type='MultiTaskSegmentor',
        tasks=tasks,
        backbone=dict(
            type='SAMViT',
            arch=dict(arch, window_size=3),
            img_size=64,
            peft=dict(type='TALoRA', num_tasks=2, ranks=(2, 2, 2), dropout=0.0),
        ),
        decode_head=dict(type='MSAMHead', in_channels=32, num_heads=2, mlp_dim=64),
        data_preprocessor=dict(
            type='SegDataPreProcessor', size=(64, 64), test_cfg=dict(size=(64, 64))
        ),
        test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(43, 43)),
    )
    made = randomise(MODELS.build(ConfigDict(made))).eval()
    made.cfg = ConfigDict(
        test_pipeline=[
            dict(type='mmsam_peft.LoadImageFromFile'),
            dict(type='mmsam_peft.PackMultiTaskInputs'),
        ],
        model={},
    )
    made.dataset_meta = {}
    path = geotiff(tmp_path / 'image.tif', pixels(50, 131))
    expected = inference_model(made, str(path)).pred_seg.data[0].numpy()
    assert len(np.unique(expected)) > 1
    mask = read(predict_large(made, path, tmp_path / 'out', Settings(task='seg'), batch_size=2))
    assert (mask == expected).mean() >= 0.9999
    with pytest.raises(ValueError, match='expected one of seg'):
        predict_large(made, path, tmp_path / 'out', Settings(task='depth'))


def test_a_model_of_whole_images_sees_each_window_as_one(model, tmp_path):
    whole = {
        'model.test_cfg': dict(mode='whole', _delete_=True),
        'test_pipeline': [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(64, 64), keep_ratio=False),
            *STEPS,
        ],
    }
    made = model(whole, classes=True)
    values = pixels(48, 102)
    path = geotiff(tmp_path / 'image.tif', values)
    mask = read(predict_large(made, path, tmp_path / 'out', Settings(window=48, stride=32)))
    total, number = np.zeros((3, 48, 102)), np.zeros(102)
    for left in (0, 32, 54):
        piece = np.moveaxis(values[:, :, left : left + 48], 0, -1)[..., ::-1]
        logits = inference_model(made, np.ascontiguousarray(piece)).seg_logits.data.numpy()
        total[:, :, left : left + 48] += logits
        number[left : left + 48] += 1
    assert (mask == (total / number).argmax(0)).mean() >= 0.9999


OTHER_ENCODERS = dict(
    sam2=dict(type='Hiera', arch=TINY_SAM2, img_size=64),
    sam3=dict(type='SAM3ViT', arch=TINY_SAM3, img_size=56),
)


@pytest.mark.parametrize('name', OTHER_ENCODERS)
def test_other_encoders(model, tmp_path, name):
    backbone = dict(OTHER_ENCODERS[name], peft=dict(type='LoRA'), _delete_=True)
    size = backbone['img_size']
    windows = dict(mode='slide', crop_size=(size, size), stride=(43, 43), _delete_=True)
    made = model(
        {
            'model.checkpoint': None,
            'model.backbone': backbone,
            'model.data_preprocessor.size': (size, size),
            'model.test_cfg': windows,
        }
    )
    path = geotiff(tmp_path / 'image.tif', pixels(70, 110))
    scores = inference_model(made, str(path)).seg_logits.data[0].numpy()
    middle = float(np.median(scores))
    mask = read(predict_large(made, path, tmp_path / 'out', Settings(threshold=middle)))
    assert (mask == (scores > middle)).mean() >= 0.9999 and 0.4 < mask.mean() < 0.6


def test_bands_ranges_and_pixels_without_an_image(model, tmp_path):
    """16-bit bands in another order, blocks that the file lacks, and pixels of the value nodata:
    what is there is predicted as training reads it, and the rest is 255."""
    setting = dict(low=10, high=60000, dtype='uint16')
    load = dict(type='LoadImageFromFile', pixels=setting)
    made = model({'test_pipeline': [load, *STEPS]}, classes=True)
    values = pixels(256, 320, bands=4, dtype='uint16') // 2 + 20
    values[:, 10:20, 30:50] = 0
    values[:, 64:, 96:] = 0
    path = geotiff(tmp_path / 'a.tif', values, nodata=0, sparse_ok=True, blockxsize=32)
    mask = read(
        predict_large(made, path, tmp_path / 'out', Settings(bands=(3, 2, 1)), batch_size=2)
    )
    there = values.any(0)
    assert (mask[~there] == 255).all() and set(np.unique(mask[there])) == {0, 1, 2}
    made.cfg.test_pipeline[0].pixels = dict(setting, bands=[3, 2, 1], nodata=0)
    expected = inference_model(made, str(path)).pred_sem_seg.data[0].numpy()
    assert (mask[there] == expected[there]).mean() >= 0.9999
    with pytest.raises(ValueError, match='4 bands'):
        made.cfg.test_pipeline[0].pixels = dict(setting, low=[1] * 3, high=[60000] * 3)
        predict_large(made, path, tmp_path / 'b')


def test_windows_without_an_image_are_neither_read_nor_computed(model, tmp_path):
    made = model(classes=True)
    path = tmp_path / 'sparse.tif'
    profile = dict(driver='GTiff', dtype='uint8', count=3, height=700, width=900, crs=UTM)
    with rasterio.open(
        path,
        'w',
        **profile,
        transform=NORTH_UP,
        tiled=True,
        blockxsize=64,
        blockysize=64,
        sparse_ok=True,
    ) as file:
        file.write(pixels(64, 64) // 2 + 1, window=rasterio.windows.Window(320, 192, 64, 64))
    calls, network = [], made.encode_decode
    made.encode_decode = lambda x, metas: calls.append(len(x)) or network(x, metas)
    mask = read(predict_large(made, path, tmp_path / 'out'))
    assert 4 <= sum(calls) <= 16
    assert (mask[192:256, 320:384] != 255).all() and (mask != 255).sum() == 64**2


def test_the_mask_lies_where_the_image_lies(model, tmp_path):
    made = model(classes=True)
    path = geotiff(tmp_path / 'a.tif', pixels(70, 90))
    out = predict_large(made, path, tmp_path / 'out', cog=True)
    with rasterio.open(out) as file:
        assert (file.crs, file.transform) == (UTM, NORTH_UP) and file.nodata == 255
        assert file.profile['compress'] == 'deflate' and file.profile['tiled']
        assert json.loads(file.tags()['CLASSES']) == list(NAMES)
        assert file.colormap(1)[2] == (9, 8, 7, 255) and file.colormap(1)[255][3] == 0
        assert file.tags(ns='IMAGE_STRUCTURE')['LAYOUT'] == 'COG'
    assert [one.name for one in (tmp_path / 'out').iterdir()] == ['a.tif']
    before = out.stat().st_mtime_ns
    assert predict_large(made, path, tmp_path / 'out', cog=True).stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match='other settings'):
        predict_large(made, path, tmp_path / 'out', Settings(window=32), cog=True)


def test_areas_are_those_on_the_earth():
    """Of Web Mercator's plane, a square of 100 m at 60 degrees has four times its area; of degrees
    none is one."""
    from mmsam_peft.apis.large_images.polygons import Polygon, _square_metres

    shapely = pytest.importorskip('shapely')
    y = 8399737.889818357  # 60 degrees
    found = _square_metres([Polygon(shapely.box(0, y, 100, y + 100), 1, 'a', 1)], 'EPSG:3857')
    assert found == [pytest.approx(10000 * 0.2508, rel=1e-3)]
    degree = shapely.box(0, 0, 0.001, 0.001)
    found = _square_metres([Polygon(degree, 1, 'a', 1)], 'EPSG:4326')
    assert found == [pytest.approx(111.3195 * 110.5743, rel=1e-3)]


def test_a_file_of_polygons_that_is_not_ours_stays(model, tmp_path):
    path = geotiff(tmp_path / 'a.tif', pixels(70, 70))
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/a.geojson').write_text('mine')
    with pytest.raises(FileExistsError, match='without the mask'):
        predict_large(model(), path, tmp_path / 'out', polygons='geojson')
    assert (tmp_path / 'out/a.geojson').read_text() == 'mine'


def test_polygons_are_whole_and_cover_the_mask(model, tmp_path):
    """Across tiles and strips; in the image's coordinates, and by longitude and latitude."""
    shapely, pyogrio = pytest.importorskip('shapely'), pytest.importorskip('pyogrio.raw')
    made = model()
    ring = np.zeros((1, 700, 550), np.float32)
    ring[0, 50:650, 50:540], ring[0, 100:600, 100:500] = 1, 0
    ring[0, 5:7, 5:7] = 1
    made.encode_decode = lambda x, metas: x[:, :1]
    path = geotiff(tmp_path / 'a.tif', (255 * ring).astype(np.uint8).repeat(3, 0))
    settings, out = Settings(window=256), tmp_path / 'out'
    mask = read(predict_large(made, path, out, settings, polygons='gpkg', min_area=5))
    assert (mask == ring[0]).all()
    _, _, shapes, (number, names, area, metres) = pyogrio.read(out / 'a.gpkg')
    assert (number.tolist(), names.tolist(), len(shapes)) == ([1], ['disc'], 1)
    assert area[0] == 600 * 490 - 500 * 400 and metres[0] == pytest.approx(
        area[0] / 4, rel=2e-3
    )  # on the ground
    assert shapely.from_wkb(shapes[0]).bounds == (500025, 5399675, 500270, 5399975)
    predict_large(made, path, out, settings, polygons='geojson')
    features = json.loads((out / 'a.geojson').read_text())['features']
    assert [one['properties']['area'] for one in features] == [4, 94000]
    assert features[1]['properties']['area_m2'] == pytest.approx(metres[0], rel=1e-6)
    outer, hole = (shapely.LinearRing(ring) for ring in features[1]['geometry']['coordinates'])
    assert outer.is_ccw and not hole.is_ccw
    assert 15 < outer.bounds[0] < 15.01 and 48 < outer.bounds[1] < 49


def test_a_disk_without_room_for_polygons(model, tmp_path, monkeypatch):
    pyogrio = pytest.importorskip('pyogrio')

    def full(*args, **kwargs):
        raise pyogrio.errors.DataSourceError('Failed to commit transaction')

    monkeypatch.setattr('pyogrio.raw.write', full)
    path = geotiff(tmp_path / 'a.tif', pixels(70, 70))
    with pytest.raises(OSError, match='a.gpkg could not be written: Failed to commit'):
        predict_large(model(), path, tmp_path / 'out', polygons='gpkg')
    assert [one.name for one in (tmp_path / 'out').iterdir()] == ['a.tif']


def test_a_lack_of_memory_is_no_damage(model, tmp_path, monkeypatch):
    def does_not_fit(*_):
        raise MemoryError('Unable to allocate')

    path = geotiff(tmp_path / 'a.tif', pixels(70, 70))
    monkeypatch.setattr(Raster, 'read', does_not_fit)
    with pytest.raises(MemoryError, match='Unable'):
        predict_large(model(), path, tmp_path / 'out')


def test_polygons_without_a_reference_are_in_pixels(model, tmp_path):
    made = model()
    made.encode_decode = lambda x, metas: x[:, :1]
    values = np.zeros((3, 40, 50), np.uint8)
    values[:, 10:20, 30:45] = 255
    path = geotiff(tmp_path / 'a.tif', values, crs=None, transform=None)
    predict_large(made, path, tmp_path / 'out', polygons='geojson')
    found = json.loads((tmp_path / 'out/a.geojson').read_text())
    assert (found['width'], found['height'], len(found['features'])) == (50, 40, 1)
    ring = np.array(found['features'][0]['geometry']['coordinates'][0])
    assert ring.min(0).tolist() == [30, 10] and ring.max(0).tolist() == [45, 20]
    with pytest.raises(ValueError, match='no coordinate reference system'):
        predict_large(made, path, tmp_path / 'out', polygons='gpkg')


@pytest.mark.parametrize('failure', [KeyboardInterrupt(), OSError(errno.ENOSPC, 'No space left')])
def test_a_run_that_was_stopped_goes_on(model, tmp_path, monkeypatch, failure):
    made = model(classes=True)
    path = geotiff(tmp_path / 'a.tif', pixels(300, 150))
    expected = read(predict_large(made, path, tmp_path / 'whole'))
    write, network, rows = module.Strips.write, made.encode_decode, []

    def stopped(self, first, labels):
        if first > 100:
            raise failure
        write(self, first, labels)

    monkeypatch.setattr(module.Strips, 'write', stopped)
    with pytest.raises(type(failure)):
        predict_large(made, path, tmp_path / 'out')
    assert [one.name for one in (tmp_path / 'out').iterdir()] == ['a.tif.unfinished']
    monkeypatch.setattr(module.Strips, 'write', write)
    made.encode_decode = lambda x, metas: rows.append(1) or network(x, metas)
    mask = read(predict_large(made, path, tmp_path / 'out'))
    assert (mask == expected).all()
    assert len(rows) == 5 * 3, 'two rows of seven are finished'
    assert [one.name for one in (tmp_path / 'out').iterdir()] == ['a.tif']


def test_rows_of_other_settings_are_not_used(model, tmp_path, monkeypatch):
    made = model(classes=True)
    path = geotiff(tmp_path / 'a.tif', pixels(120, 80))
    expected = read(predict_large(made, path, tmp_path / 'whole'))
    assemble = module.write_mask
    monkeypatch.setattr(module, 'write_mask', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict_large(made, path, tmp_path / 'out', Settings(window=32))
    monkeypatch.setattr(module, 'write_mask', assemble)
    assert (read(predict_large(made, path, tmp_path / 'out')) == expected).all()


def test_sums_beyond_their_memory_are_on_the_disk(tmp_path):
    sums, rng, expected = Sums(tmp_path, most=3 * 400), np.random.default_rng(0), {}
    for _ in range(300):
        key, values = int(rng.integers(12)), rng.random((1, 10, 10), np.float32)
        if rng.random() < 0.3:
            found, there = sums.pop(key), expected.pop(key, None)
            assert found is None if there is None else np.allclose(found, there)
        else:
            expected[key] = expected.get(key, 0) + values
            sums.add(key, values.copy())
        assert sum(one.nbytes for one in sums.near.values()) == sums.bytes <= 1200
    assert sums.far and sums.end <= 12 * 400
    sums.close()


def test_no_array_is_as_wide_as_the_image_but_rows_of_class_numbers(model, tmp_path, monkeypatch):
    """What is read and added up at a time depends on the window alone."""
    made, read_sizes, sum_sizes = model(classes=True), [], []
    path = geotiff(tmp_path / 'a.tif', pixels(130, 1500))
    get, add = Raster.read, Sums.add

    def read(self, *args):
        found = get(self, *args)
        read_sizes.append(found[0].size)
        return found

    def added(self, key, values):
        sum_sizes.append(values.size)
        add(self, key, values)
        assert len(self.near) <= 3 * len(axis.cells) + 9

    axis = Axis(1500, 1500, 64, 43)
    monkeypatch.setattr(Raster, 'read', read)
    monkeypatch.setattr(Sums, 'add', added)
    predict_large(made, path, tmp_path / 'out')
    assert max(read_sizes) == 3 * 64**2 and max(sum_sizes) <= 3 * 64**2


def test_windows_that_leave_gaps_are_refused(model, tmp_path):
    path = geotiff(tmp_path / 'a.tif', pixels(64, 64))
    with pytest.raises(ValueError, match='no pixel may be left out'):
        predict_large(model(), path, tmp_path, Settings(window=32, stride=40))
    with pytest.raises(ValueError, match='expected a side'):
        predict_large(model(), path, tmp_path, Settings(window=0))
