import re
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from PIL import Image

from mmsam_peft.adapters.match import load_adapter
from mmsam_peft.apis import prediction
from mmsam_peft.apis.inference import inferencer, init_model
from mmsam_peft.apis.prediction import predict, prefetch, reason
from mmsam_peft.visualization.masks import write_mask, write_overlay

SIZES = {
    'grey.png': ('L', 40, 30),
    'rgba.png': ('RGBA', 40, 30),
    'dot.bmp': ('RGB', 1, 1),
    'large.jpg': ('RGB', 4000, 3000),
}


def picture(path, mode: str = 'RGB', width: int = 40, height: int = 30):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = len(Image.new(mode, (1, 1)).getbands())
    tile = np.random.default_rng(0).integers(
        0, 256, (-(-height // 10), -(-width // 10), channels), dtype=np.uint8
    )
    pixels = np.kron(tile, np.ones((10, 10, 1), np.uint8))[:height, :width]
    if mode == 'RGBA':
        pixels[..., 3] = 255
    Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels).save(path)
    return path


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
    pixels = torch.from_numpy(np.asarray(Image.open(image)).astype(np.float32)).permute(2, 0, 1)[
        None
    ]
    model = build()
    load_adapter(model, ready[1])
    with torch.no_grad():
        logits = model.encode_decode((pixels - 128) / 64, [dict(img_shape=(64, 64))])
    assert 0 < mask.mean() < 1
    assert ((logits[0, 0].sigmoid() > 0.5).numpy() == mask).mean() > 0.999
    config, adapter = map(str, ready)
    assert (
        inferencer(config, adapter, show_progress=False)(str(image))['predictions'] == mask
    ).mean() > 0.999


def test_an_unreadable_image_is_reported_and_the_others_go_on(ready, tmp_path):
    good = picture(tmp_path / 'in' / 'z.png')
    bad = [picture(tmp_path / 'in' / name) for name in ('a.png', 'b.jpg', 'c.bmp')]
    for path in bad:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    bad.append(tmp_path / 'in' / 'd.png')
    bad[-1].touch()
    results = dict(predict(init_model(*ready), str(tmp_path / 'in'), tmp_path / 'out'))
    assert results.pop(good) is None
    assert results.keys() == set(bad)
    cause = re.compile('runcated|empty file')
    assert all(cause.search(str(error)) for error in results.values()), results
    assert [path.name for path in (tmp_path / 'out').rglob('*.png')] == ['z.png'] * 2


def test_an_image_whose_prediction_is_not_finite_is_reported_and_the_others_go_on(
    ready, tmp_path, monkeypatch
):
    """Also where it shares a batch with them."""
    images = [picture(tmp_path / 'in' / name) for name in ('a.png', 'b.png', 'c.png')]
    read = prediction.load

    def load(path, pipeline):
        found = read(path, pipeline)
        if path == images[1]:
            found.data['inputs'] = found.data['inputs'] * torch.nan
        return found

    monkeypatch.setattr(prediction, 'load', load)
    results = dict(
        predict(init_model(*ready), str(tmp_path / 'in'), tmp_path / 'out', batch_size=3)
    )
    assert [results[image] for image in (images[0], images[2])] == [None, None]
    assert re.match(
        r'.*/b.png: the model gives logits that are NaN or infinite', str(results[images[1]])
    )
    assert {path.name for path in (tmp_path / 'out').rglob('*.png')} == {'a.png', 'c.png'}


def test_whatever_fails_is_listed_and_the_others_go_on(ready, tmp_path, monkeypatch):
    """A decompression bomb, a link to nothing, a transform's error, a lack of memory for a batch,
    then for one image, and a picture that no PNG can hold."""
    for i in range(6):
        picture(tmp_path / f'in/{i}.png')
    chunks = (
        b'IHDR' + struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0),
        b'IDAT' + zlib.compress(bytes(9)),
        b'IEND',
    )
    (tmp_path / 'in/6.png').write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + b''.join(
            struct.pack('>I', len(chunk) - 4) + chunk + struct.pack('>I', zlib.crc32(chunk))
            for chunk in chunks
        )
    )
    (tmp_path / 'in/7.png').symlink_to('nothing.png')
    model = init_model(*ready)
    step, resize, overlay = model.test_step, model.cfg.test_pipeline[1], prediction.write_overlay

    class Fails:
        def __call__(self, results):
            return {}['odd'] if '1.png' in results['img_path'] else results

    def out_of_memory(data):
        names = [one.img_path[-5:] for one in data['data_samples']]
        if len(names) > 2 or '3.png' in names:
            raise torch.cuda.OutOfMemoryError('too little memory')
        return step(data)

    monkeypatch.setattr(
        prediction, 'pipeline_of', lambda model: Compose([Fails(), *model.cfg.test_pipeline])
    )
    monkeypatch.setattr(
        prediction,
        'write_overlay',
        lambda *args: 1 / 0 if '4.png' in str(args[3]) else overlay(*args),
    )
    model.test_step = out_of_memory
    results = list(predict(model, str(tmp_path / 'in'), tmp_path / 'out', batch_size=3))
    assert [path.name for path, _ in results] == [
        f'{i}.png' for i in range(8)
    ] and resize.type == 'Resize'
    errors = [error and reason(error) for _, error in results]
    assert errors[:4] == [None, "KeyError: 'odd'", None, 'OutOfMemoryError: too little memory']
    assert errors[4] == 'ZeroDivisionError: division by zero'
    assert (
        errors[5] is None
        and 'too large to read at once' in errors[6]
        and 'nothing' not in errors[6]
        and errors[7]
    )
    assert {path.stem for path in (tmp_path / 'out/overlays').iterdir()} == {'0', '2', '5'}


@pytest.mark.parametrize(
    ('source', 'names'),
    [
        ('', {'a/1.png', 'b/1.png', 'b/2.jpg.png', 'b/2.png.png'}),
        ('b', {'1.png', '2.jpg.png', '2.png.png'}),
        ('*/1.jpg', {'a/1.png', 'b/1.png'}),
        ('b/2.png', {'2.png'}),
        ('c', {'3.jpg.png', '3.jpg.png.png', '3.png.png'}),
    ],
)
def test_no_two_images_share_a_mask(ready, tmp_path, source, names):
    root, out = tmp_path / 'in', tmp_path / 'out'
    for name in ('a/1.jpg', 'b/1.jpg', 'b/2.jpg', 'b/2.png'):
        picture(root / name)
    for name in ('3.jpg', '3.jpg.png', '3.png') if source == 'c' else ():
        picture(root / 'c' / name)
    list(predict(init_model(*ready), str(root / source), out))
    for kind in ('masks', 'overlays'):
        assert {
            path.relative_to(out / kind).as_posix() for path in (out / kind).rglob('*.png')
        } == names


@pytest.mark.parametrize(
    ('palette', 'shown'), [([[9, 8, 7], [1, 2, 3]], (1, 2, 3)), (None, (1, 1, 1))]
)
def test_write_mask(tmp_path, palette, shown):
    write_mask(torch.tensor([[[0, 1], [1, 1]]]), palette, tmp_path / 'new' / 'mask.png')
    with Image.open(tmp_path / 'new' / 'mask.png') as mask:
        assert np.asarray(mask).tolist() == [[0, 1], [1, 1]]
        assert mask.convert('RGB').getpixel((0, 1)) == shown


def test_write_overlay(tmp_path):
    image = np.array([[[200, 100, 50], [200, 100, 50]]], np.uint8)
    write_overlay(
        image,
        torch.tensor([[[0.0, 1.0]]]),
        [[0, 0, 0], [0, 255, 0]],
        tmp_path / 'new' / 'overlay.png',
        opacity=0.2,
    )
    assert np.asarray(Image.open(tmp_path / 'new' / 'overlay.png')).tolist() == [
        [[200, 100, 50], [160, 131, 40]]
    ]


def counting(model) -> list[int]:
    """A list that grows by the size of each batch the model sees."""
    sizes, step = [], model.test_step
    model.test_step = lambda data: sizes.append(len(data['inputs'])) or step(data)
    return sizes


def written(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*.png')
    }


def test_batches_give_what_single_images_give(ready, tmp_path):
    """Sizes of the images differ, those of the network's inputs do not; an unreadable image is
    between them."""
    images = [
        picture(tmp_path / 'in' / f'{i}.png', 'RGB', 40 + 10 * i, 90 - 10 * i) for i in range(6)
    ]
    images[2].write_bytes(b'nothing')
    seen = {}
    for size, expected in ((1, [1] * 5), (2, [2, 2, 1]), (3, [2, 3])):
        model = init_model(*ready)
        sizes = counting(model)
        results = list(
            predict(model, str(tmp_path / 'in'), tmp_path / f'out{size}', batch_size=size)
        )
        assert [path for path, _ in results] == images
        assert [error is not None for _, error in results] == [
            False,
            False,
            True,
            False,
            False,
            False,
        ]
        assert sizes == expected
        seen[size] = written(tmp_path / f'out{size}')
    assert len(seen[1]) == 10 and seen[1].keys() == seen[2].keys() == seen[3].keys()
    for name in seen[1]:
        one, *others = (
            np.asarray(Image.open(tmp_path / f'out{size}' / name)).astype(int) for size in (1, 2, 3)
        )
        for other in others:
            assert (one == other).mean() > 0.999, 'rounding may move a pixel of an edge'


def test_inputs_of_several_sizes_are_not_padded(ready, tmp_path):
    """The pipeline keeps the ratio, so that neighbours cannot share a batch; order and results
    stay."""
    for i, (width, height) in enumerate([(40, 20), (40, 20), (20, 40), (40, 20)]):
        picture(tmp_path / 'in' / f'{i}.png', 'RGB', width, height)
    outs = []
    for size in (1, 3):
        model = init_model(ready[0], ready[1], cfg_options={'test_pipeline.1.keep_ratio': True})
        sizes = counting(model)
        list(predict(model, str(tmp_path / 'in'), tmp_path / f'out{size}', batch_size=size))
        outs.append(
            {
                name: np.asarray(Image.open(tmp_path / f'out{size}' / name))
                for name in written(tmp_path / f'out{size}')
            }
        )
    assert sizes == [2, 1, 1] and outs[0].keys() == outs[1].keys()
    assert all((one == outs[1][name]).mean() > 0.999 for name, one in outs[0].items())


def test_sizes_below_one(ready, tmp_path):
    picture(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='batch_size=0: at least 1'):
        next(predict(init_model(*ready), str(tmp_path / 'a.png'), tmp_path / 'out', batch_size=0))


def test_few_images_are_in_memory_at_a_time(ready, tmp_path, monkeypatch):
    """Reading stays two batches ahead of the model, and the model one ahead of writing, however
    many images there are."""
    for i in range(30):
        picture(tmp_path / 'in' / f'{i:02}.png')
    model, read, done = init_model(*ready), [], []
    load, step = prediction.load, model.test_step
    monkeypatch.setattr(prediction, 'load', lambda *args: read.append(args[0]) or load(*args))

    def slow_step(data):
        time.sleep(0.02)  # so that reading could run away
        done.extend(data['inputs'])
        assert len(read) <= len(done) + 2 * 2 + 1
        return step(data)

    model.test_step = slow_step
    for i, _ in enumerate(predict(model, str(tmp_path / 'in'), tmp_path / 'out', batch_size=2)):
        assert len(done) <= i + 1 + 2 + 2
    assert len(read) == len(done) == 30


def test_ahead_keeps_order_and_passes_errors_on():
    items = iter(range(20))
    with ThreadPoolExecutor(4) as pool:
        assert list(
            prefetch(pool, lambda i: time.sleep(0.01 * (i % 3)) or i * i, range(20), 5)
        ) == [i * i for i in range(20)]
        made = prefetch(pool, lambda i: 1 / (3 - i), items, 2)
        assert [next(made) for _ in range(3)] == [1 / 3, 1 / 2, 1]
        with pytest.raises(ZeroDivisionError):
            next(made)
    assert next(items) == 6, 'two beyond the last that was taken'


def test_an_error_of_writing_is_not_hidden(ready, tmp_path):
    picture(tmp_path / 'a.png')
    (tmp_path / 'out').write_text('a file where the folder should be')
    with pytest.raises(OSError):
        list(predict(init_model(*ready), str(tmp_path / 'a.png'), tmp_path / 'out'))


def test_bfloat16(ready, tmp_path):
    """Computed in bfloat16, compared and written in float32: masks differ on few pixels; autocast
    ends with the batch."""
    for i in range(3):
        picture(tmp_path / 'in' / f'{i}.png', 'RGB', 64, 64)
    seen, masks = [], {}
    for amp in (False, True):
        model = init_model(*ready)
        model.backbone.neck[0].register_forward_hook(
            lambda module, inputs, output: seen.append(output.dtype)
        )
        for _ in predict(model, str(tmp_path / 'in'), tmp_path / f'{amp}', amp=amp):
            assert not torch.is_autocast_enabled('cpu')
        masks[amp] = np.stack(
            [np.asarray(Image.open(tmp_path / f'{amp}' / 'masks' / f'{i}.png')) for i in range(3)]
        )
    assert seen == [torch.float32] * 3 + [torch.bfloat16] * 3
    assert 0.9 < (masks[False] == masks[True]).mean()


def test_sliding_windows_over_a_large_image(ready, tmp_path):
    """As docs/speed.md writes the config: the image at its own size, in windows of the size the
    model was trained for."""
    image = picture(tmp_path / 'in' / 'a.png', 'RGB', 150, 100)
    model = init_model(
        *ready,
        cfg_options={
            'model.test_cfg': dict(mode='slide', crop_size=(64, 64), stride=(48, 48)),
            'test_pipeline': [
                dict(type='LoadImageFromFile'),
                dict(type='LoadMask'),
                dict(type='PackSegInputs'),
            ],
        },
    )
    list(predict(model, str(tmp_path / 'in'), tmp_path / 'out'))
    mask = np.asarray(Image.open(tmp_path / 'out/masks/a.png'))
    pixels = (
        torch.from_numpy(np.asarray(Image.open(image)).astype(np.float32)).permute(2, 0, 1)[None]
        - 128
    ) / 64
    total, count = torch.zeros(100, 150), torch.zeros(100, 150)
    for top in (0, 36):
        for left in (0, 48, 86):
            window = slice(top, top + 64), slice(left, left + 64)
            with torch.no_grad():
                total[window] += model.encode_decode(
                    pixels[..., window[0], window[1]], [dict(img_shape=(64, 64))]
                )[0, 0]
            count[window] += 1
    assert mask.shape == (100, 150) and 0 < mask.mean() < 1
    assert ((total / count > 0).numpy() == mask).mean() > 0.999
