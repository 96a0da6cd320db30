"""TransLab: parameters to the digit, shapes, losses, gradients, a step of training."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models import ResNet
from mmseg.structures import SegDataSample

from mmsam_peft.models.decode_heads import TransLabHead
from mmsam_peft.models.decode_heads.boundaries import boundary_target


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters():
    with torch.device('meta'):
        head = TransLabHead(num_classes=12, norm_cfg=dict(type='BN'))
        published = TransLabHead(num_classes=12, norm_cfg=dict(type='BN'), train_boundary=False)
        encoder = ResNet(50, norm_cfg=dict(type='BN'))
    classifier = 2048 * 1000 + 1000
    assert count(encoder) + count(head) == 40_149_242 == 42_198_242 - classifier
    frozen = sum(p.numel() for p in published.parameters() if not p.requires_grad)
    assert frozen == 12_862_753
    assert all(p.requires_grad for p in head.parameters())


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = TransLabHead((16, 16, 32), channels=16, num_classes=3, norm_cfg=dict(type='BN'))
    for name, parameter in head.named_parameters():
        if name.endswith('squeeze.bias'):
            parameter.data.fill_(1.0)  # few units: none may sleep
    return head


@pytest.fixture
def maps():
    sizes = ((16, 16, 24), (16, 8, 12), (0, 4, 6), (32, 4, 6))
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, *size, generator=generator) for size in sizes)


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (2, 1, 4, 6), generator=generator).repeat_interleave(16, 2)
    labels = labels.repeat_interleave(16, 3)
    labels[:, :, :5] = 255
    return [SegDataSample(gt_sem_seg=PixelData(data=one)) for one in labels]


def test_shapes(head, maps):
    """Of a map that is not square."""
    classes, boundary = head.streams(maps)
    assert classes.shape == (2, 3, 16, 24) and boundary.shape == (2, 1, 16, 24)
    assert head(maps).shape == classes.shape


def test_the_boundary_gates_every_map(head, maps):
    """Where the boundary's logits are far below zero, the gated copies are zero."""
    seen = []
    for fusion in (*head.gates, head.fusion_c2, head.fusion_c1):
        fusion.conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    head.boundary.logits.bias.data.fill_(-200)
    head(maps)
    assert len(seen) == 5
    assert all(x.chunk(2, 1)[0].any() and not x.chunk(2, 1)[1].any() for x in seen)


def test_losses(head, maps, samples):
    """Cross-entropy, and 5 times Dice of the boundaries of the masks, written out."""
    losses = head.eval().loss(maps, samples, {})
    labels = torch.cat([sample.gt_sem_seg.data for sample in samples])
    classes, boundary = (
        F.interpolate(x, labels.shape[1:], mode='bilinear', align_corners=True)
        for x in head.streams(maps)
    )
    ce = F.cross_entropy(classes, labels, ignore_index=255, reduction='none')
    assert losses['loss_ce'].item() == pytest.approx(ce.mean().item(), rel=1e-5)
    p, g = boundary[:, 0].sigmoid(), boundary_target(labels)
    assert 0 < (g == 1).float().mean() < 1
    valid, g = (g != 255).float(), (g == 1).float()
    overlap = (valid * p * g).sum((1, 2))
    sizes = (valid * (p**2 + g**2)).sum((1, 2))
    dice = (1 - (2 * overlap + 1) / (sizes + 1)).mean()
    assert losses['loss_boundary'].item() == pytest.approx(5 * dice.item(), rel=1e-5)


def test_a_step_trains_everything(head, maps, samples):
    optimizer = torch.optim.SGD(head.parameters(), lr=0.02)
    losses = head.loss(maps, samples, {})
    (losses['loss_ce'] + losses['loss_boundary']).backward()
    before = {name: p.clone() for name, p in head.named_parameters()}
    optimizer.step()
    same = [name for name, p in head.named_parameters() if p.equal(before[name])]
    assert not same


def test_the_published_program_trains_no_boundary(maps, samples):
    head = TransLabHead(
        (16, 16, 32), channels=16, num_classes=3, norm_cfg=dict(type='BN'), train_boundary=False
    )
    losses = head.loss(maps, samples, {})
    (losses['loss_ce'] + losses['loss_boundary']).backward()
    still = {name.split('.')[0] for name, p in head.named_parameters() if p.grad is None}
    moving = {name.split('.')[0] for name, p in head.named_parameters() if p.grad is not None}
    assert still == {'boundary', 'gates'} and not still & moving and 'fusion_c2' in moving
