"""The command of docs/large_images.md, in a process of its own."""

import numpy as np
import pytest
import rasterio
from affine import Affine

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis import init_model
from mmsam_peft.apis.large_images import Settings, predict_large

pytestmark = pytest.mark.slow
pyogrio = pytest.importorskip('pyogrio.raw')


def test_a_scene_and_a_damaged_one(build, tiny, start, tmp_path):
    model, adapter, base = build(trained=True), tmp_path / 'a.safetensors', tmp_path / 'base.pth'
    model.load_base()
    meta = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
    save_adapter(model, adapter, meta, tiny())
    place = dict(crs='EPSG:32633', transform=Affine(0.5, 0, 5e5, 0, -0.5, 5.4e6))
    profile = dict(driver='GTiff', dtype='uint8', count=4, height=150, width=200, compress='lzw')
    coarse = np.random.default_rng(0).integers(0, 256, (4, 15, 20), dtype=np.uint8)
    scene, damaged = tmp_path / 'scene.tif', tmp_path / 'damaged.tif'
    with rasterio.open(scene, 'w', **profile, **place, photometric='minisblack') as file:
        file.write(coarse.repeat(10, 1).repeat(10, 2))
    damaged.write_bytes(scene.read_bytes()[:-2000])
    options = ['--bands', '3', '2', '1', '--polygons', 'gpkg', '--min-area', '50', '--cog']
    done = start(
        *('predict_large.py', adapter, damaged, scene, '--out-dir', tmp_path / 'out', *options),
        *('--checkpoint', base, '--device', 'cpu'),
        check=False,
    )
    assert done.returncode == 1 and 'damaged.tif: the rows' in done.stderr, done.stderr
    assert 'see' in done.stdout and 'scene.gpkg' in done.stdout + done.stderr
    made = init_model(adapter, checkpoint=str(base), device='cpu')
    settings = Settings(bands=(3, 2, 1))
    with (
        rasterio.open(tmp_path / 'out/scene.tif') as file,
        rasterio.open(predict_large(made, scene, tmp_path / 'own', settings)) as own,
    ):
        mask = file.read(1)
        assert (mask == own.read(1)).all() and set(np.unique(mask)) == {0, 1}
        assert (file.crs, file.transform) == (place['crs'], place['transform'])
        assert file.tags(ns='IMAGE_STRUCTURE')['LAYOUT'] == 'COG'
    _, _, _, (_, names, areas, _) = pyogrio.read(tmp_path / 'out/scene.gpkg')
    assert set(names) == {'disc'} and 50 <= areas.min() and areas.sum() <= mask.sum()
    assert not (tmp_path / 'out/damaged.tif').exists()
