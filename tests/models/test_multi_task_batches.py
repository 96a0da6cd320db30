"""A batch of images and labels of any sizes, of which some lack tasks, against its samples one by
one in plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from mmsam_peft.registry import MODELS

ARCH = dict(
    embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=3),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals'),
    dict(type='Saliency', name='sal'),
    dict(type='Edges', name='edges'),
]
METHODS = dict(
    shared=dict(type='LoRA', rank=2),
    per_task=dict(type='TALoRA', num_tasks=5, ranks=(2, 2, 2), dropout=0.0),
    lora_per_task=dict(type='TaskLoRA', num_tasks=5, rank=2),
)
IMAGES = [(48, 64), (64, 64), (64, 40), (33, 64), (64, 64)]
LABELS = [(24, 32), (64, 64), (50, 21), (33, 64), (7, 5)]
LACKS = [(), ('seg', 'normals'), ('depth',), ('sal', 'edges'), ('depth', 'normals', 'sal')]


@pytest.fixture(params=METHODS.values(), ids=METHODS)
def model(request, randomise):
    torch.manual_seed(0)
    model = randomise(
        MODELS.build(
            ConfigDict(
                type='MultiTaskSegmentor',
                tasks=TASKS,
                backbone=dict(type='SAMViT', arch=dict(ARCH), img_size=64, peft=request.param),
                decode_head=dict(type='MSAMHead', in_channels=16, num_heads=2, mlp_dim=16),
                data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
                test_cfg=dict(mode='whole'),
            )
        )
    ).double()
    model.decode_head.pe_layer.float()  # SAM computes positions in float32
    return model


def make(seed: int = 0) -> tuple[Tensor, list[SegDataSample]]:
    """Images in the upper left corner of 64 x 64; about a third of the labels' pixels are not
    valid, and are wild."""
    generator, samples = torch.Generator().manual_seed(seed), []
    images = torch.zeros(5, 3, 64, 64, dtype=torch.float64)
    for image, (h, w), size, lacks in zip(images, IMAGES, LABELS, LACKS, strict=True):
        image[:, :h, :w] = torch.randn(3, h, w, generator=generator)
        sample = SegDataSample(metainfo=dict(img_shape=(h, w), ori_shape=size))
        for name, data, wild in (
            ('seg', torch.randint(3, (1, *size), generator=generator), 255),
            ('depth', torch.rand(1, *size, generator=generator) + 1, 0.0),
            ('normals', F.normalize(torch.randn(3, *size, generator=generator), dim=0), 0.0),
            ('sal', (torch.rand(1, *size, generator=generator) < 0.3).float(), 255),
            ('edges', (torch.rand(1, *size, generator=generator) < 0.3).float(), 255),
        ):
            valid = torch.rand(1, *size, generator=generator) > 0.3
            if name not in lacks:
                sample.set_field(
                    PixelData(data=data.where(valid, torch.tensor(wild).to(data)), valid=valid),
                    f'gt_{name}',
                )
        samples.append(sample)
    return images, samples


def pixels(
    name: str, outputs: list[Tensor], samples: list[SegDataSample]
) -> list[tuple[list[float], list[float]]]:
    """Output and label of every valid pixel, from each sample's own output (K, 16, 16)."""
    found = []
    for output, sample in zip(outputs, samples, strict=True):
        if f'gt_{name}' in sample:
            h, w = sample.img_shape
            label = sample.get(f'gt_{name}')
            image = F.interpolate(output[None], size=(64, 64), mode='bilinear')[..., :h, :w]
            resized = F.interpolate(image, size=label.data.shape[1:], mode='bilinear')[0]
            found += [
                (resized[:, y, x].tolist(), label.data[:, y, x].tolist())
                for y, x in label.valid[0].nonzero().tolist()
            ]
    return found


def cross_entropy(p: list[float], g: list[float]) -> float:
    return math.log(sum(map(math.exp, p))) - p[int(g[0])]


def angle(p: list[float], g: list[float]) -> float:
    lengths = math.sqrt(sum(a * a for a in p)), math.sqrt(sum(b * b for b in g))
    return 1 - sum(a * b for a, b in zip(p, g, strict=True)) / math.prod(lengths)


def binary(weight: float, p: list[float], g: list[float]) -> float:
    return (
        weight * math.log(1 + math.exp(-p[0]))
        if g[0]
        else (1 - weight) * math.log(1 + math.exp(p[0]))
    )


def by_hand(name: str, values: list[tuple[list[float], list[float]]]) -> float:
    share = sum(g[0] for _, g in values) / len(values)
    pixel = dict(
        seg=cross_entropy,
        depth=lambda p, g: abs(p[0] - g[0]),
        normals=angle,
        sal=lambda p, g: binary(1 - share, p, g),
        edges=lambda p, g: binary(0.95, p, g),
    )[name]
    return sum(pixel(p, g) for p, g in values) / len(values)


def test_losses_by_hand(model):
    images, samples = make()
    losses = model.loss(images, samples)
    with torch.no_grad():
        alone = [model.outputs(image[None], list(model.tasks)) for image in images]
    for name in model.tasks:
        expected = by_hand(name, pixels(name, [one[name][0] for one in alone], samples))
        assert losses[f'{name}.loss'].item() == pytest.approx(expected, rel=1e-5), name


@torch.no_grad()
@pytest.mark.parametrize('order', [(4, 3, 2, 1, 0), (2, 0, 4, 1, 3), (1, 1, 3)])
def test_order_of_the_samples(model, order):
    """Permutes outputs and predictions; every choice of tasks gives what all tasks give."""
    images, samples = make()
    every = list(model.tasks)
    outputs, chosen = (
        model.outputs(images, every),
        model.outputs(images[list(order)], ['normals', 'seg']),
    )
    assert list(chosen) == ['normals', 'seg']
    for name, output in chosen.items():
        torch.testing.assert_close(output, outputs[name][list(order)], rtol=1e-9, atol=1e-9)
        assert (outputs[name][0] - outputs[name][1]).abs().max() > 1e-3, (
            'images have to differ for a test'
        )
    predicted = model.predict(images, [sample.clone() for sample in samples])
    permuted = model.predict(images[list(order)], [samples[i].clone() for i in order])
    for name in every:
        for one, i in zip(permuted, order, strict=True):
            values = one.get(f'pred_{name}').data
            assert values.shape[1:] == LABELS[i]
            torch.testing.assert_close(
                values, predicted[i].get(f'pred_{name}').data, rtol=1e-9, atol=1e-9
            )


def test_order_leaves_losses_as_they_are(model):
    images, samples = make()
    order = [2, 0, 4, 1, 3]
    losses, permuted = (
        model.loss(images, samples),
        model.loss(images[order], [samples[i] for i in order]),
    )
    assert losses.keys() == permuted.keys()
    for key, loss in losses.items():
        torch.testing.assert_close(permuted[key], loss, rtol=1e-12, atol=0)


def test_no_valid_pixel_is_no_label(model):
    """An image whose depth is zero or NaN everywhere counts as one that lacks the task."""
    images, samples = make()
    void = [sample.clone() for sample in samples]
    void[1].gt_depth = PixelData(
        data=torch.full((1, 64, 64), torch.nan), valid=torch.zeros(1, 64, 64, dtype=torch.bool)
    )
    without = [sample.clone() for sample in samples]
    without[1].pop('gt_depth')
    losses = [model.loss(images, one)['depth.loss'] for one in (void, without, samples)]
    assert losses[0].equal(losses[1]) and not losses[0].equal(losses[2])
    gradients = [
        torch.autograd.grad(loss, model.decode_head.no_mask_embed.weight)[0] for loss in losses[:2]
    ]
    assert gradients[0].equal(gradients[1]) and gradients[0].isfinite().all()
