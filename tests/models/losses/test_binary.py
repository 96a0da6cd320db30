"""What holds for every loss of a one-channel head."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models import FCNHead
from mmseg.structures import SegDataSample
from torch._subclasses.fake_tensor import FakeTensorMode

import mmsam_peft.models.losses  # noqa: F401
from mmsam_peft.registry import MODELS

NAMES = {
    'StructureLoss': 'loss_structure',
    'BalancedBCELoss': 'loss_balanced_bce',
    'DiceBCELoss': 'loss_dice_bce',
}


@pytest.fixture(params=NAMES)
def loss(request):
    return MODELS.build(dict(type=request.param, loss_weight=1.5))


def example(dtype=torch.float64):
    """Two 9 x 7 images: a quarter of foreground, some ignored pixels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 9, 7, generator=generator, dtype=torch.float64).to(dtype)
    labels = (torch.rand(2, 9, 7, generator=generator) < 0.25).long()
    labels[torch.rand(2, 9, 7, generator=generator) < 0.2] = 255
    return logits.requires_grad_(), labels


def test_name_and_weight(loss):
    assert loss.loss_name == NAMES[type(loss).__name__]
    plain = type(loss)()
    logits, labels = example()
    assert loss(logits, labels).item() == pytest.approx(
        1.5 * plain(logits, labels).item(), rel=1e-12
    )


def test_gradient(loss):
    logits, labels = example()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits)
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
    assert torch.equal(gradient.squeeze(1) == 0, labels == 255)


def test_perfect_prediction(loss):
    _, labels = example()
    logits = torch.where(labels == 1, 60.0, -60.0).unsqueeze(1)
    assert 0 <= loss(logits, labels).item() < 1e-6
    assert loss(-logits, labels).item() > 1


def test_ignored_logits_change_nothing(loss):
    logits, labels = example()
    ignored = (labels == 255).unsqueeze(1)
    assert torch.equal(loss(logits, labels), loss(torch.where(ignored, 37.0, logits), labels))
    assert not torch.equal(loss(logits, labels), loss(torch.where(ignored, logits, 37.0), labels))


def test_ignored_padding_changes_nothing(loss):
    logits, labels = example()
    padded = loss(
        torch.nn.functional.pad(logits, (2, 3, 0, 5)),
        torch.nn.functional.pad(labels, (2, 3, 0, 5), value=255),
    )
    torch.testing.assert_close(padded, loss(logits, labels), rtol=1e-12, atol=0)


def test_other_ignore_index(loss):
    logits, labels = example()
    torch.testing.assert_close(
        loss(logits, labels.where(labels != 255, -100), ignore_index=-100), loss(logits, labels)
    )


def test_image_without_valid_pixels_does_not_count(loss):
    logits, labels = example()
    labels[1] = 255
    torch.testing.assert_close(loss(logits, labels), loss(logits[:1], labels[:1]))


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_nothing_valid(loss, dtype):
    logits, labels = example(dtype)
    value = loss(logits, torch.full_like(labels, 255))
    (value * 65536).backward()  # the scale of mixed precision
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize('label', [0, 1])
def test_one_class_only(loss, label):
    logits, labels = example()
    value = loss(logits, torch.full_like(labels, label))
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()


def test_pixel_weight(loss):
    """A zero weight removes a pixel, except from the surroundings of others: the foreground stays
    the same here."""
    logits, labels = example()
    dropped = (labels == 0) & (torch.arange(7) % 2 == 0)
    weighted = loss(logits, labels, weight=(~dropped).float())
    torch.testing.assert_close(weighted, loss(logits, labels.masked_fill(dropped, 255)))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_with_large_logits(loss, dtype):
    logits, labels = example(torch.float32)
    with torch.autocast('cpu', dtype=dtype):
        huge = logits.sign() * 1e4
        value = loss(huge.to(dtype), labels)
        moderate = loss(logits.to(dtype), labels)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and logits.grad.isfinite().all()
    torch.testing.assert_close(moderate, loss(logits.to(dtype).float(), labels), rtol=1e-5, atol=0)


def test_no_host_synchronisation(loss):
    """Fake tensors hold no data: reading a value or indexing with a mask raises."""
    logits, labels = example(torch.float32)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake_logits, fake_labels = mode.from_tensor(logits), mode.from_tensor(labels)
        assert loss(fake_logits, fake_labels, weight=torch.ones(2, 9, 7)).shape == ()


def test_as_loss_of_a_decode_head(loss):
    logits, labels = example(torch.float32)
    head = FCNHead(
        in_channels=4,
        channels=4,
        num_convs=1,
        num_classes=2,
        out_channels=1,
        threshold=0.5,
        loss_decode=dict(type=f'mmsam_peft.{type(loss).__name__}', loss_weight=1.5),
    )
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
    assert torch.equal(head.loss_by_feat(logits, samples)[loss.loss_name], loss(logits, labels))


@pytest.mark.parametrize('shape', [(2, 2, 9, 7), (2, 1, 9, 8), (2, 9, 7), (1, 1, 9, 7)])
def test_wrong_shapes(loss, shape):
    with pytest.raises(ValueError, match=r'one output channel'):
        loss(torch.zeros(shape), torch.zeros(2, 9, 7, dtype=torch.long))
