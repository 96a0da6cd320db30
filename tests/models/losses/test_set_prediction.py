import math
import os
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

from mmsam_peft.models.losses import SetPredictionLoss, semantic_logits
from mmsam_peft.registry import MODELS

CLASSES = 4


def build(**kwargs):
    return MODELS.build(
        dict(type='SetPredictionLoss', num_classes=CLASSES, num_points=500) | kwargs
    )


def example(size=16):
    """Predictions of 6 queries for 2 images with classes {0, 2, 3} and {0, 1}, some pixels
    ignored."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[0, 4:14, 6:30], labels[0, 20:, :9], labels[1, 8:24, 8:24] = 2, 3, 1
    labels[:, 28:, 28:] = 255
    class_logits = torch.randn(2, 6, CLASSES + 1, generator=generator).requires_grad_()
    mask_logits = torch.randn(2, 6, size, size, generator=generator).requires_grad_()
    return class_logits, mask_logits, labels


def seeded(loss, *args, **kwargs):
    torch.manual_seed(1)
    return loss(*args, **kwargs)


def same(first, second, **kwargs):
    return all(torch.allclose(first[name], second[name], **kwargs) for name in first)


def test_undecided_prediction():
    """All logits 0: cross-entropies ln 5 and ln 2; half the image is class 1, the points fall there
    as they like."""
    labels = torch.ones(1, 8, 8, dtype=torch.long)
    losses = build()(torch.zeros(1, 6, CLASSES + 1), torch.zeros(1, 6, 4, 4), labels)
    assert losses['loss_cls'].item() == pytest.approx(10 * math.log(5), rel=1e-5)
    assert losses['loss_mask'].item() == pytest.approx(5 * math.log(2), rel=1e-5)
    assert losses['loss_dice'].item() == pytest.approx(
        5 * (1 - (500 + 1) / (250 + 500 + 1)), rel=1e-5
    )


def test_formula():
    """With many uniform points the losses approach those over all pixels, for the matching the loss
    made."""
    class_logits, mask_logits, labels = example(32)
    loss = build(
        num_points=200_000, oversample_ratio=1.0, importance_ratio=0.0, no_object_weight=0.3
    )
    losses = seeded(loss, class_logits, mask_logits * 3, labels)
    image, query, klass = seeded(loss.match, class_logits, mask_logits * 3, labels).tolist()
    assert list(zip(image, klass, strict=True)) == [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1)]

    target = np.full((2, 6), CLASSES)
    target[image, query] = klass
    log_probs = class_logits.detach().double().log_softmax(-1).numpy()
    weights = np.where(target == CLASSES, 0.3, 1.0)
    expected_cls = (
        -(weights * np.take_along_axis(log_probs, target[..., None], -1)[..., 0]).sum()
        / weights.sum()
    )
    upsampled = F.interpolate(
        mask_logits.detach().double() * 3, scale_factor=8, mode='bilinear', align_corners=False
    ).numpy()
    dense = labels.repeat_interleave(8, 1).repeat_interleave(8, 2).numpy()
    bce, dice = [], []
    for b, q, k in zip(image, query, klass, strict=True):
        x, t = upsampled[b, q][dense[b] != 255], dense[b][dense[b] != 255] == k
        prob = 1 / (1 + np.exp(-x))
        bce.append(-np.log(np.where(t, prob, 1 - prob)).mean())
        dice.append(1 - 2 * prob[t].sum() / (prob.sum() + t.sum()))
    assert losses['loss_cls'].item() == pytest.approx(10 * expected_cls, rel=1e-5)
    assert losses['loss_mask'].item() == pytest.approx(5 * np.mean(bce), rel=5e-3)
    assert losses['loss_dice'].item() == pytest.approx(5 * np.mean(dice), rel=5e-3)


def test_factors():
    args = example()
    plain = seeded(build(class_weight=1.0, mask_weight=1.0, dice_weight=1.0), *args)
    for name, factor in seeded(
        build(class_weight=2.0, mask_weight=3.0, dice_weight=4.0), *args
    ).items():
        torch.testing.assert_close(
            factor, {'loss_cls': 2, 'loss_mask': 3, 'loss_dice': 4}[name] * plain[name]
        )


def perfect(labels, order):
    """Queries ``order`` stand for the classes 0 ... 3 of every image, the others for nothing."""
    class_logits = torch.full((len(labels), 6, CLASSES + 1), -60.0)
    mask_logits = torch.full((len(labels), 6, *labels.shape[1:]), -60.0)
    class_logits[..., CLASSES] = 0
    for klass, query in enumerate(order):
        mask = labels == klass
        mask_logits[:, query] = torch.where(mask, 60.0, -60.0)
        class_logits[:, query, klass] = torch.where(mask.flatten(1).any(1), 60.0, -60.0)
    return class_logits, mask_logits


def test_perfect_prediction():
    """Logits and labels of one resolution: what remains is the interpolation along boundaries, so
    that is cut out."""
    _, _, labels = example()
    labels = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    edge = torch.zeros_like(labels, dtype=torch.bool)
    for shift in ((0, 1), (1, 0), (1, 1), (-1, 1)):
        for sign in (-1, 1):
            edge |= labels != labels.roll((sign * shift[0], sign * shift[1]), (1, 2))
    class_logits, mask_logits = perfect(labels, order=(5, 0, 3, 1))
    labels[edge] = 255
    loss = build()
    assert loss.match(class_logits, mask_logits, labels).tolist() == [
        [0, 0, 0, 1, 1],
        [5, 3, 1, 5, 0],
        [0, 2, 3, 0, 1],
    ]
    for value in loss(class_logits, mask_logits, labels).values():
        assert 0 <= value.item() < 1e-4
    for value in loss(-class_logits, -mask_logits, labels).values():
        assert value.item() > 1


@pytest.mark.parametrize('cost', ['class', 'mask', 'dice'])
def test_each_cost_decides_the_matching(cost):
    """Queries 3 and 1 fit classes 0 and 2 by their class only, queries 5 and 4 by their mask
    only."""
    labels = torch.full((1, 8, 8), 255)
    labels[:, 2:6, 2:6], labels[:, :2] = 2, 0
    class_logits, mask_logits = torch.zeros(1, 6, CLASSES + 1), torch.zeros(1, 6, 8, 8)
    class_logits[0, 1, 2] = class_logits[0, 3, 0] = 9.0
    mask_logits[0, 4] = torch.where(labels[0] == 2, 9.0, -9.0)
    mask_logits[0, 5] = -mask_logits[0, 4]
    costs = dict(cost_class=0.0, cost_mask=0.0, cost_dice=0.0) | {f'cost_{cost}': 1.0}
    _, query, klass = build(**costs).match(class_logits, mask_logits, labels)
    assert klass.tolist() == [0, 2]
    assert query.tolist() == ([3, 1] if cost == 'class' else [5, 4])


def test_order_of_queries_does_not_matter():
    class_logits, mask_logits, labels = example()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    reordered = seeded(build(), class_logits[:, order], mask_logits[:, order], labels)
    assert same(seeded(build(), class_logits, mask_logits, labels), reordered)


def test_same_seed_same_result():
    args = example()
    first, second, other = seeded(build(), *args), seeded(build(), *args), build()(*args)
    assert same(first, second, rtol=0, atol=0) and not same(first, other)


def test_ignored_pixels():
    """Neither a label that is ignored nor the logits under it matter; logits of label size, away
    from bilinear neighbours."""
    class_logits, mask_logits, labels = example(32)
    before = seeded(build(), class_logits, mask_logits, labels)
    altered = mask_logits.detach().clone()
    altered[..., 29:, 29:] = 7.0
    assert same(before, seeded(build(), class_logits, altered, labels), rtol=0, atol=0)
    other_index = seeded(
        build(), class_logits, mask_logits, labels.where(labels != 255, -1), ignore_index=-1
    )
    assert same(before, other_index, rtol=0, atol=0)
    assert not same(
        before, seeded(build(), class_logits, mask_logits, labels.where(labels != 255, 1))
    )


def test_every_logit_gets_a_gradient():
    class_logits, mask_logits, labels = example()
    sum(build(num_points=5000)(class_logits, mask_logits, labels).values()).backward()
    assert (class_logits.grad != 0).all()
    _, queries, _ = seeded(build().match, class_logits, mask_logits, labels)
    used = (mask_logits.grad != 0).flatten(2).any(2)
    assert used.sum() == len(queries) == 5
    assert (mask_logits.grad[used][:, :13, :13] != 0).all()


def test_nothing_valid():
    class_logits, mask_logits, labels = example()
    losses = build()(class_logits, mask_logits, torch.full_like(labels, 255))
    sum(losses.values()).backward()
    assert all(value.item() == 0 for value in losses.values())
    assert torch.equal(class_logits.grad, torch.zeros_like(class_logits))
    assert torch.equal(mask_logits.grad, torch.zeros_like(mask_logits))


def test_image_without_valid_pixels_teaches_nothing():
    class_logits, mask_logits, labels = example()
    labels[0] = 255
    loss = build(cost_mask=0.0, cost_dice=0.0)  # no random points in the matching
    losses = loss(class_logits, mask_logits, labels)
    sum(losses.values()).backward()
    assert not class_logits.grad[0].any() and not mask_logits.grad[0].any()
    assert class_logits.grad[1].all() and mask_logits.grad[1].any()
    alone = loss(class_logits[1:], mask_logits[1:], labels[1:])
    torch.testing.assert_close(losses['loss_cls'], alone['loss_cls'])


def test_more_classes_than_queries():
    class_logits, mask_logits, labels = example()
    with pytest.warns(UserWarning, match=r'queries \(2\)'):
        losses = build()(class_logits[:, :2], mask_logits[:, :2], labels)
    assert all(value.isfinite() for value in losses.values())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('default')
        for _ in range(3):
            build()(class_logits[:, :2], mask_logits[:, :2], labels)
    assert len(caught) == 1


@pytest.mark.parametrize('which, at', [('class', (0, 5, 1)), ('mask', (0, 5, 2, 2))])
@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_one_broken_logit_is_seen(which, at, value):
    """Also of a query that nothing is matched with; loss and gradient are NaN."""
    class_logits, mask_logits, labels = example()
    broken = dict({'class': class_logits, 'mask': mask_logits})
    broken[which] = (
        broken[which].clone().index_put(tuple(map(torch.tensor, at)), torch.tensor(value))
    )
    total = sum(seeded(build(), broken['class'], broken['mask'], labels).values())
    total.backward()
    assert total.isnan() and class_logits.grad.isnan().any()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_with_large_logits(dtype):
    class_logits, mask_logits, labels = example()
    with torch.autocast('cpu', dtype=dtype):
        losses = build()(
            (class_logits.sign() * 1e4).to(dtype), (mask_logits.sign() * 1e4).to(dtype), labels
        )
        moderate = seeded(build(), class_logits.to(dtype), mask_logits.to(dtype), labels)
    sum(losses.values()).backward()
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    assert class_logits.grad.isfinite().all() and mask_logits.grad.isfinite().all()
    assert same(
        moderate,
        seeded(build(), class_logits.to(dtype).float(), mask_logits.to(dtype).float(), labels),
        rtol=1e-5,
    )


def test_number_of_masks_is_averaged_over_processes(tmp_path):
    """Two processes with 5 and 0 masks divide by 2.5; alone each divides by its own number."""
    class_logits, mask_logits, labels = (tensor.detach() for tensor in example())
    alone = seeded(build(), class_logits, mask_logits, labels)

    def work(rank):
        os.environ['GLOO_SOCKET_IFNAME'] = 'lo'
        dist.init_process_group(
            'gloo', init_method=f'file://{tmp_path}/init', rank=rank, world_size=2
        )
        own_labels = labels if rank == 0 else torch.full_like(labels, 255)
        torch.save(seeded(build(), class_logits, mask_logits, own_labels), tmp_path / f'{rank}.pt')
        dist.destroy_process_group()

    mp.start_processes(work, nprocs=2, start_method='fork')
    full, empty = torch.load(tmp_path / '0.pt'), torch.load(tmp_path / '1.pt')
    torch.testing.assert_close(full['loss_mask'], 2 * alone['loss_mask'])
    torch.testing.assert_close(full['loss_dice'], 2 * alone['loss_dice'])
    torch.testing.assert_close(full['loss_cls'], alone['loss_cls'])
    assert all(value.item() == 0 for value in empty.values())


def test_wrong_number_of_classes():
    class_logits, mask_logits, labels = example()
    with pytest.raises(ValueError, match='got logits for 4 classes, expected num_classes'):
        build()(class_logits[..., 1:], mask_logits, labels)


@pytest.mark.parametrize('unknown', [CLASSES, CLASSES + 1, 254, -1])
def test_unknown_label(unknown):
    class_logits, mask_logits, labels = example()
    labels[0, 0, 0] = unknown
    with pytest.raises(ValueError, match='no class'):
        build()(class_logits, mask_logits, labels)


def test_paper_defaults():
    loss = SetPredictionLoss(num_classes=3)
    assert (loss.num_points, loss.class_weight, loss.mask_weight, loss.dice_weight) == (
        12544,
        10,
        5,
        5,
    )
    assert (loss.cost_class, loss.cost_mask, loss.cost_dice, loss.no_object_weight) == (
        2,
        5,
        5,
        0.1,
    )
    assert (loss.oversample_ratio, loss.importance_ratio) == (3, 0.75)


def test_semantic_logits():
    class_logits, mask_logits, _ = example()
    scores = np.zeros((2, CLASSES, 16, 16))
    for b, q, k in np.ndindex(2, 6, CLASSES):
        weights = np.exp(class_logits[b, q].detach().double().numpy())
        scores[b, k] += (
            weights[k] / weights.sum() / (1 + np.exp(-mask_logits[b, q].detach().double().numpy()))
        )
    result = semantic_logits(class_logits, mask_logits)
    np.testing.assert_allclose(result.detach(), np.log(scores), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        result.detach().softmax(1), scores / scores.sum(1, keepdims=True), rtol=1e-5
    )


def test_semantic_logits_under_autocast():
    class_logits, mask_logits, _ = example()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        result = semantic_logits(class_logits.bfloat16() * 1e4, mask_logits.bfloat16() * 1e4)
        exact = semantic_logits(class_logits, mask_logits)
    assert result.dtype == torch.float32 and result.isfinite().all()
    torch.testing.assert_close(exact, semantic_logits(class_logits, mask_logits))
