"""``pixels`` at the top of a config, from the first image that is read to the adapter's header."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config
from PIL import Image

from mmsam_peft.adapters.allowed import require_allowed
from mmsam_peft.adapters.file import read_header
from mmsam_peft.apis import inference_model, init_model, predict
from mmsam_peft.apis.launch import build_runner, load_config
from mmsam_peft.apis.settings import apply_settings, check_settings
from mmsam_peft.datasets.image_files import read_image
from mmsam_peft.datasets.pictures import picture_of
from mmsam_peft.datasets.pixels import survey_pixels
from mmsam_peft.engine.run_settings import differences, run_settings

CONFIGS = Path(__file__).parents[3] / 'configs'
PIXELS = dict(low=[0, 10, 0, 0], high=[3000, 2500, 2000, 5000], bands=[3, 2, 1, 4])


def readers(node) -> list:
    """The ``pixels`` of all steps that read images."""
    found, inner = [], node
    if isinstance(node, dict):
        if str(node.get('type')).startswith('LoadImage'):
            found.append(node.get('pixels'))
        inner = list(node.values())
    for one in inner if isinstance(inner, list | tuple) else ():
        found += readers(one)
    return found


@pytest.mark.parametrize('path', ['lora/quickstart.py', 'talora/quickstart_multitask.py'])
@pytest.mark.parametrize('where', ['file', 'option'])
def test_it_reaches_every_reader_and_the_model(tmp_path, path, where):
    config = tmp_path / 'c.py'
    lines = [f"_base_ = '{CONFIGS / path}'", *[f'pixels = {PIXELS}'] * (where == 'file')]
    config.write_text('\n'.join(lines))
    cfg = load_config(str(config), None if where == 'file' else dict(pixels=PIXELS))
    check_settings(cfg)
    found = readers(cfg.to_dict())
    assert len(found) >= 5 and all(one == PIXELS for one in found)
    assert cfg.model.pixels == PIXELS and cfg.model.backbone.in_channels == 4
    mean = [123.675, 116.28, 103.53]
    assert cfg.model.data_preprocessor.mean == [*mean, sum(mean) / 3]
    assert len(cfg.model.data_preprocessor.std) == 4
    apply_settings(cfg, dict(pixels=dict(low=0, high=255)))
    check_settings(cfg)
    assert cfg.model.backbone.in_channels == 3 and cfg.model.data_preprocessor.mean == mean


def test_what_contradicts_it():
    cfg = load_config(f'{CONFIGS}/lora/quickstart.py', dict(pixels=PIXELS))
    cfg.test_pipeline[0].pixels = dict(low=0, high=9)
    with pytest.raises(ValueError, match=r'(?s)other places.*test_pipeline\.0\.pixels'):
        check_settings(cfg)
    cfg = load_config(f'{CONFIGS}/lora/quickstart.py')
    cfg.train_dataloader.dataset.pipeline[0].pixels = dict(low=0, high=9)
    with pytest.raises(ValueError, match='images are read in several ways'):
        check_settings(cfg)
    with pytest.raises(ValueError, match='makes images of 4 channels, but a EncoderDecoder'):
        load_config(f'{CONFIGS}/segformer/camvid_b0.py', dict(pixels=PIXELS))
    deep = dict(low=0, high=4095)
    assert load_config(f'{CONFIGS}/segformer/camvid_b0.py', dict(pixels=deep)).pixels == deep
    cfg.train_dataloader.dataset.pipeline[0].pixels = None
    cfg.train_dataloader.dataset.pipeline.insert(1, dict(type='PhotoMetricDistortion'))
    with pytest.raises(ValueError, match=r'pipeline\.1, PhotoMetricDistortion, is for'):
        apply_settings(cfg, dict(pixels=deep))
    with pytest.raises(ValueError, match='pixels has no lows'):
        apply_settings(cfg, dict(pixels=dict(lows=1)))


@pytest.fixture
def own_data(tmp_path, monkeypatch) -> np.ndarray:
    """The tiny config's folders with 4-band TIFFs of 16 bits, in blue, green, red and infrared;
    infrared alone shows the disc. Returns the last image."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for split, count in dict(train=4, val=2).items():
        for number in range(count):
            mask = (y - 30) ** 2 + (x - 20 - 5 * number) ** 2 < 200
            bands = rng.integers(0, 2500, (64, 64, 4)).astype(np.uint16)
            bands[..., 3] += np.uint16(2000) * mask
            for folder in ('img_dir', 'ann_dir'):
                (tmp_path / folder / split).mkdir(parents=True, exist_ok=True)
            kind = dict(photometric='minisblack', planarconfig='contig', metadata=None)
            tifffile.imwrite(tmp_path / f'img_dir/{split}/{number}.tif', bands, **kind)
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f'ann_dir/{split}/{number}.png')
    return bands


def test_from_training_to_prediction(tiny, own_data, tmp_path):
    """The files' range is estimated, trained with, and applied at prediction by the adapter
    alone; the overlay shows the picture's red, green and blue."""
    images = sorted((tmp_path / 'img_dir/train').iterdir())
    pixels = survey_pixels(images, bands=[3, 2, 1, 4]).pixels
    cfg = tiny({'train_cfg.max_epochs': 2})
    plain = copy.deepcopy(cfg)
    apply_settings(cfg, dict(pixels=pixels))
    cfg.launcher = 'none'
    runner = build_runner(cfg)
    runner.train()
    adapter = tmp_path / 'work/adapter_last.safetensors'
    header = read_header(adapter)
    assert header['pixels'] == pixels and header['pixels']['dtype'] == 'uint16'
    assert 'backbone.patch_embed.further' in header['tensors']
    trained = runner.model.backbone.patch_embed.further
    assert trained.abs().max() > 0  # it was zero

    path = str(tmp_path / 'img_dir/val/1.tif')
    model = init_model(plain, str(adapter), 'cpu')  # the config names no pixels
    assert model.backbone.patch_embed.further.equal(trained)
    logits = inference_model(model, path).seg_logits.data
    from_array = inference_model(model, own_data).seg_logits.data
    torch.testing.assert_close(from_array, logits, rtol=0, atol=0)
    alone = init_model(str(adapter), device='cpu', checkpoint=str(tmp_path / 'base.pth'))
    assert inference_model(alone, path).seg_logits.data.equal(logits)
    far = dict(low=-3e38, high=3e9, nodata=[-3.4e38, 'nan'])
    require_allowed(dict(type='PEFTSegmentor', pixels=far), alone.cfg.test_pipeline)
    merged = init_model(plain, str(adapter), 'cpu', merge=True)
    torch.testing.assert_close(inference_model(merged, path).seg_logits.data, logits)

    ((_, error),) = predict(model, path, tmp_path / 'out')
    assert error is None and (tmp_path / 'out/masks/1.png').is_file()
    picture = picture_of(runner.val_dataloader.dataset, path)
    low, high = (np.array(pixels[end][:3]) for end in ('low', 'high'))
    rgb = np.clip((own_data[..., [2, 1, 0]] - low) / (high - low), 0, 1) * 255
    assert np.abs(picture - rgb).max() <= 0.5 + 1e-3
    overlay = np.asarray(Image.open(tmp_path / 'out/overlays/1.png'))
    seen = np.asarray(Image.open(tmp_path / 'out/masks/1.png')) == 0
    assert (overlay[seen] == picture[seen]).all()

    training = runner.train_dataloader.dataset[0]['inputs']
    np.testing.assert_array_equal(
        training.numpy(),
        read_image((tmp_path / 'img_dir/train/0.tif').read_bytes(), pixels).transpose(2, 0, 1),
    )
    other = copy.deepcopy(plain)
    apply_settings(other, dict(pixels={**pixels, 'high': 4000}))
    with pytest.raises(ValueError, match=r'on another pixels: the file has high=\[.*high=4000'):
        init_model(other, str(adapter), 'cpu')
    runner.cfg.train_dataloader.dataset.pipeline[0].pixels.high[0] += 1
    found = json.loads(json.dumps(header['pixels']))
    assert found == pixels
    asked = run_settings(runner)
    before = copy.deepcopy(asked)
    before['train_dataloader']['dataset']['pipeline'][0]['pixels'] = pixels
    assert any('pixels.high.0' in line for line in differences(before, asked))


def test_files_of_deep_images_say_what_to_do(tiny, own_data, tmp_path):
    cfg = tiny()
    cfg.launcher = 'none'
    with pytest.raises(ValueError, match=r'(?s)unreadable images: 4.*pixel_range\.py') as caught:
        build_runner(cfg).train()
    assert 'in 4 bands' in str(caught.value) and isinstance(cfg, Config)
