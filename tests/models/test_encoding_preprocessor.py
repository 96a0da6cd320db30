"""Batches of images and stored maps through whole models."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmsam_peft.datasets.feature_cache import FeatureStore, HalfMap
from mmsam_peft.models.backbones.frozen_prefix import FrozenPrefix
from mmsam_peft.models.encoding_preprocessor import EncodingPreprocessor
from mmsam_peft.registry import MODELS

PREPROCESSOR = dict(
    type='SegDataPreProcessor', mean=[99] * 3, std=[50] * 3, size=(64, 64), bgr_to_rgb=True
)


def sample(fields):
    labels = dict(
        sem_seg=torch.randint(2, (1, 48, 64)),
        seg=torch.randint(4, (1, 30, 40)),
        depth=torch.rand(1, 30, 40) + 1,
    )
    found = SegDataSample(metainfo=dict(img_shape=(48, 64), ori_shape=(30, 40)))
    for name in fields:
        valid = {} if name == 'sem_seg' else dict(valid=torch.ones(1, 30, 40, dtype=torch.bool))
        setattr(found, f'gt_{name}', PixelData(data=labels[name], **valid))
    return found


@pytest.fixture(params=['binary', 'per task', 'one by one'])
def model_and_data(request, randomise, arch):
    """A model with one trained block of two, and a batch of two images with their labels."""
    binary = request.param == 'binary'
    lora = dict(type='LoRA', blocks=[1])
    tasks = dict(type='TALoRA', num_tasks=2, ranks=(2, 2, 2), dropout=0.0, blocks=[1])
    head = dict(in_channels=32, num_heads=2, mlp_dim=64)
    config = dict(
        backbone=dict(type='SAMViT', arch=arch, img_size=64, peft=lora if binary else tasks),
        data_preprocessor=PREPROCESSOR,
        test_cfg=dict(mode='whole'),
    )
    if binary:
        config |= dict(type='PEFTSegmentor', decode_head=dict(type='SAMMaskHead', **head))
    else:
        config |= dict(
            type='MultiTaskSegmentor',
            decode_head=dict(type='MSAMHead', **head),
            one_by_one=request.param == 'one by one',
            tasks=[
                dict(type='SemanticSegmentation', name='seg', num_classes=4),
                dict(type='Depth', name='depth'),
            ],
        )
    fields = ['sem_seg'] if binary else ['seg', 'depth']
    data = dict(
        inputs=[torch.randint(256, (3, 48, 64), dtype=torch.uint8) for _ in range(2)],
        data_samples=[sample(fields) for _ in range(2)],
        item=['0a', '1b'],
    )
    return randomise(MODELS.build(config)).train(), data


def copies(data):
    return dict(
        data,
        inputs=list(data['inputs']),
        data_samples=[one.clone() for one in data['data_samples']],
    )


def gradients(model, data):
    model.zero_grad()
    loss, _ = model.parse_losses(model._run_forward(model.data_preprocessor(data, True), 'loss'))
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('stored', [(), (0,), (1,), (0, 1)])
def test_a_batch_of_images_and_maps(model_and_data, tmp_path, stored):
    """The gradients of the plain path when its map is rounded to 16 bit, and nearly those of the
    plain path itself."""
    model, data = model_and_data
    plain, block = gradients(model, copies(data)), model.backbone.blocks[0]
    rounding = block.register_forward_hook(
        lambda module, _, y: torch.stack([HalfMap.of(x).restored('cpu') for x in y])
    )
    expected = gradients(model, copies(data))
    rounding.remove()

    prefix, store = FrozenPrefix(model.backbone), FeatureStore(tmp_path, 1e9)
    model.data_preprocessor = EncodingPreprocessor(model.data_preprocessor, prefix, store)
    gradients(model, copies(data))  # stores both
    batch = copies(data)
    for i in stored:
        batch['inputs'][i], batch['data_samples'][i] = store.read(data['item'][i])
    found = gradients(model, batch)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        size = max(gradient.norm(), 1e-6 * max(map(torch.norm, expected.values())))
        assert (found[name] - gradient).norm() <= 1e-5 * size, name
        assert (found[name] - plain[name]).norm() <= 2e-2 * size, name
    assert any(not found[name].equal(plain[name]) for name in plain)


def test_only_images_are_encoded(model_and_data, tmp_path, monkeypatch):
    model, data = model_and_data
    prefix, encoded = FrozenPrefix(model.backbone), []
    monkeypatch.setattr(
        FrozenPrefix,
        '__call__',
        lambda self, images: encoded.append(len(images)) or torch.ones(1, 4, 4, 32),
    )
    preprocessor = EncodingPreprocessor(model.data_preprocessor, prefix, FeatureStore(tmp_path, 0))
    data['inputs'][0] = HalfMap.of(torch.zeros(4, 4, 32))
    batch = preprocessor(data, True)
    assert (
        encoded == [1]
        and batch['inputs'].map.flatten(1).sum(1).tolist() == [0, 512]
        and not list(tmp_path.iterdir())
    )


def test_a_map_that_is_not_finite_is_not_stored(model_and_data, tmp_path):
    """It makes a loss that is not finite either: the step is left out, training goes on."""
    model, data = model_and_data
    prefix, store = FrozenPrefix(model.backbone), FeatureStore(tmp_path, 1e9)
    model.data_preprocessor = EncodingPreprocessor(model.data_preprocessor, prefix, store)
    data['inputs'][0] = data['inputs'][0].float() * torch.nan
    assert all(
        gradient.isnan().any()
        for name, gradient in gradients(model, copies(data)).items()
        if 'lora_B' in name
    )
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['1b']


def test_validation_gets_images(model_and_data, tmp_path):
    model, data = model_and_data
    preprocessor = EncodingPreprocessor(
        model.data_preprocessor, FrozenPrefix(model.backbone), FeatureStore(tmp_path, 1e9)
    )
    del data['item']
    images = preprocessor(data, False)['inputs']
    expected = (torch.stack(data['inputs'])[:, [2, 1, 0]].float() - 99) / 50
    torch.testing.assert_close(images, expected)
    assert preprocessor.state_dict() == {}, 'checkpoints stay as they are'
