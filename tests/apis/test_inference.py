import cv2
import numpy as np
import pytest
import torch
from mmseg.apis import inference_model as mmseg_inference_model

from mmsam_peft.apis import predict
from mmsam_peft.apis.inference import build_to_count, inference_model, inferencer, init_model


def test_without_weights_the_base_is_loaded_and_the_data_set_names_the_classes(tiny, tmp_path):
    model = init_model(tiny(), device='cpu')
    base = torch.load(tmp_path / 'base.pth')
    assert model.backbone.blocks[0].mlp.lin1.weight.equal(
        base['image_encoder.blocks.0.mlp.lin1.weight']
    )
    assert model.dataset_meta['classes'] == ('background', 'disc')


def test_options_and_absent_files(ready, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='device=cuda:0: PyTorch sees no GPU'):
        init_model(*ready, device='cuda:0')
    config = tiny()
    with pytest.raises(ValueError, match='another peft'):
        init_model(config, ready[1], cfg_options={'model.backbone.peft.rank': 5})
    assert config.model.backbone.peft == dict(type='LoRA')
    for weights in ('absent.pth', 'absent.safetensors'):
        with pytest.raises(FileNotFoundError, match=weights):
            init_model(config, tmp_path / weights)
    with pytest.raises(FileNotFoundError, match='There is no checkpoint .*none.pth'):
        init_model(config, ready[1], cfg_options={'model.checkpoint': str(tmp_path / 'none.pth')})


def test_build_to_count(tiny):
    model = build_to_count(tiny({'model.checkpoint': 'not even looked for'}))
    assert all(tensor.is_meta for tensor in model.state_dict().values())


@pytest.fixture
def scene(tmp_path):
    """An image in a file and in memory."""
    path, pixels = (
        tmp_path / 'image.png',
        np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8),
    )
    cv2.imwrite(str(path), pixels)
    return path, pixels


@pytest.mark.parametrize('infer', [inference_model, mmseg_inference_model])
def test_arrays_and_paths_in_any_order(ready, scene, infer):
    """MMSegmentation's function writes into the model's config when it is given an array."""
    model, (path, pixels) = init_model(*ready, 'cpu'), scene
    before = model.cfg.to_dict()
    first = infer(model, str(path))
    expected, mask = first.seg_logits.data, first.pred_sem_seg.data[0].bool().numpy()
    for image in (
        pixels,
        str(path),
        np.dstack([pixels, pixels[..., 0] | 255]),
        [pixels, pixels],
        [str(path)],
    ):
        found = infer(model, image)
        for one in found if isinstance(image, list) else [found]:
            assert one.seg_logits.data.shape == (1, 40, 50) and torch.allclose(
                one.seg_logits.data, expected, atol=1e-4
            )
    assert infer is mmseg_inference_model or model.cfg.to_dict() == before
    with pytest.raises(ValueError, match='multiply it by 255'):
        infer(model, pixels / 255)
    list(predict(model, str(path), path.parent / 'out'))
    written = (
        cv2.imread(str(path.parent / 'out/masks/image.png'))[..., 1] > 0
    )  # the second class is green
    assert 0.1 < mask.mean() < 0.9 and (written == mask).mean() > 0.99


def test_arrays_through_the_inferencer(ready, scene):
    path, pixels = scene
    infer = inferencer(*map(str, ready), 'cpu', show_progress=False)
    assert (infer(pixels)['predictions'] == infer(str(path))['predictions']).all()
    with pytest.raises(ValueError, match='scale it'):
        infer(pixels.astype(np.uint16) * 257)


@pytest.mark.parametrize('image', [None, 3, torch.zeros(4, 4, 3)])
def test_neither_path_nor_array(ready, image):
    with pytest.raises(
        TypeError, match=f'type {type(image).__name__}, expected a path or a NumPy array'
    ):
        inference_model(init_model(*ready, 'cpu'), image)
