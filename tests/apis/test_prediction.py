import re

import numpy as np
import pytest
import torch
from PIL import Image

from mmsam_peft.apis.adapters import load_adapter
from mmsam_peft.apis.inference import inferencer, init_model
from mmsam_peft.apis.prediction import find_images, predict, read_image, write_mask, write_overlay

SIZES = {'grey.png': ('L', 40, 30), 'rgba.png': ('RGBA', 40, 30), 'dot.bmp': ('RGB', 1, 1), 'large.jpg': ('RGB', 4000, 3000)}


def picture(path, mode: str = 'RGB', width: int = 40, height: int = 30):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    tile = np.random.default_rng(0).integers(0, 256, (-(-height // 10), -(-width // 10), channels), dtype=np.uint8)
    pixels = np.kron(tile, np.ones((10, 10, 1), np.uint8))[:height, :width]
    Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).save(path)
    return path


def test_find_images(tmp_path, monkeypatch):
    files = [picture(tmp_path / name) for name in ('a.jpg', 'b/c.PNG', 'b/d.tif')]
    (tmp_path / 'b' / 'notes.txt').write_text('no image')
    assert find_images(str(files[0])) == files[:1]
    assert find_images(str(tmp_path)) == files
    assert find_images(f'{tmp_path}/b/*') == files[1:]
    assert find_images(f'{tmp_path}/**/*.jpg') == files[:1]
    for nothing in (tmp_path / 'absent', f'{tmp_path}/*.gif', f'{tmp_path}/b/*.txt'):
        with pytest.raises(FileNotFoundError, match=f'No image at {re.escape(str(nothing))}: give a file, a folder or'):
            find_images(str(nothing))


def test_masks_and_overlays_of_all_kinds_of_images(ready, tmp_path):
    for name, (mode, width, height) in SIZES.items():
        picture(tmp_path / 'in' / name, mode, width, height)
    model, out = init_model(*ready), tmp_path / 'out'
    results = dict(predict(model, str(tmp_path / 'in'), out))
    assert results == {tmp_path / 'in' / name: None for name in SIZES}
    for name, (_, width, height) in SIZES.items():
        with Image.open(out / 'masks' / f'{name[:-4]}.png') as mask:
            assert (mask.mode, mask.size) == ('P', (width, height))
            assert mask.getpalette()[:6] == [0, 0, 0, 0, 255, 0]
            assert set(np.unique(mask)) <= {0, 1}
        with Image.open(out / 'overlays' / f'{name[:-4]}.png') as overlay:
            assert (overlay.mode, overlay.size) == ('RGB', (width, height))


def test_mask_is_the_models_prediction_at_the_images_size(ready, build, tmp_path):
    """The same through MMSegmentation's inferencer, and by hand."""
    image = picture(tmp_path / 'image.png', 'RGB', 64, 64)
    list(predict(init_model(*ready), str(image), tmp_path))
    mask = np.asarray(Image.open(tmp_path / 'masks' / 'image.png'))
    pixels = torch.from_numpy(np.asarray(Image.open(image)).astype(np.float32)).permute(2, 0, 1)[None]
    model = build()
    load_adapter(model, ready[1])
    with torch.no_grad():
        logits = model.encode_decode((pixels - 128) / 64, [dict(img_shape=(64, 64))])
    assert 0 < mask.mean() < 1
    assert ((logits[0, 0].sigmoid() > 0.5).numpy() == mask).mean() > 0.999
    config, adapter = map(str, ready)
    assert (inferencer(config, adapter, show_progress=False)(str(image))['predictions'] == mask).all()


def test_an_unreadable_image_is_reported_and_the_others_go_on(ready, tmp_path):
    good = picture(tmp_path / 'in' / 'z.png')
    bad = [picture(tmp_path / 'in' / name) for name in ('a.png', 'b.jpg', 'c.bmp')]
    for path in bad:
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    bad.append(tmp_path / 'in' / 'd.png')
    bad[-1].touch()
    results = dict(predict(init_model(*ready), str(tmp_path / 'in'), tmp_path / 'out'))
    assert results.pop(good) is None
    assert results.keys() == set(bad)
    assert all(isinstance(error, OSError) and 'truncated' in str(error) for error in results.values())
    assert [path.name for path in (tmp_path / 'out').rglob('*.png')] == ['z.png'] * 2


@pytest.mark.parametrize(('source', 'names'), [
    ('', {'a/1.png', 'b/1.png', 'b/2.jpg.png', 'b/2.png.png'}),
    ('b', {'1.png', '2.jpg.png', '2.png.png'}),
    ('*/1.jpg', {'a/1.png', 'b/1.png'}),
    ('b/2.png', {'2.png'}),
])
def test_no_two_images_share_a_mask(ready, tmp_path, source, names):
    root, out = tmp_path / 'in', tmp_path / 'out'
    for name in ('a/1.jpg', 'b/1.jpg', 'b/2.jpg', 'b/2.png'):
        picture(root / name)
    list(predict(init_model(*ready), str(root / source), out))
    for kind in ('masks', 'overlays'):
        assert {path.relative_to(out / kind).as_posix() for path in (out / kind).rglob('*.png')} == names


def test_read_image(tmp_path):
    pixels = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    assert (read_image(tmp_path / 'image.png') == pixels).all()


@pytest.mark.parametrize(('palette', 'shown'), [([[9, 8, 7], [1, 2, 3]], (1, 2, 3)), (None, (1, 1, 1))])
def test_write_mask(tmp_path, palette, shown):
    write_mask(torch.tensor([[[0, 1], [1, 1]]]), palette, tmp_path / 'new' / 'mask.png')
    with Image.open(tmp_path / 'new' / 'mask.png') as mask:
        assert np.asarray(mask).tolist() == [[0, 1], [1, 1]]
        assert mask.convert('RGB').getpixel((0, 1)) == shown


def test_write_overlay(tmp_path):
    image = np.array([[[200, 100, 50], [200, 100, 50]]], np.uint8)
    write_overlay(image, torch.tensor([[[0., 1.]]]), [[0, 0, 0], [0, 255, 0]], tmp_path / 'new' / 'overlay.png', opacity=0.2)
    assert np.asarray(Image.open(tmp_path / 'new' / 'overlay.png')).tolist() == [[[200, 100, 50], [160, 131, 40]]]
