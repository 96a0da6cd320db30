"""Prompted answers are held to the base's."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmsam_peft.models.backbones.frozen_prefix import Encoded, FrozenPrefix
from mmsam_peft.models.backbones.sam_keys import to_sam_keys
from mmsam_peft.models.decode_heads.keeping import CLICKS, distance, inside, questions
from mmsam_peft.registry import MODELS

METHODS = ('LoRA', 'Full', 'BitFit', 'SSF', 'VPT', 'ConvLoRA')


@pytest.fixture
def model(tiny, tmp_path):
    """``model(peft)``: the tiny model, which keeps what its base weights, a whole SAM's, answer."""
    torch.manual_seed(0)
    options = {'model.decode_head.prompts': True, 'model.backbone.peft.type': 'Frozen'}
    whole = MODELS.build(tiny(options).model)
    for name, value in whole.decode_head.named_parameters():
        if 'hypernetworks' in name or 'upscaling' in name:
            value.data.normal_(std=0.5)  # masks that are neither empty nor full
    torch.save(to_sam_keys(whole.state_dict()), tmp_path / 'whole.pth')

    def build(peft='LoRA', **options):
        cfg = tiny().model
        cfg.checkpoint = str(tmp_path / 'whole.pth')
        cfg.backbone.peft = dict(type=peft, **options)
        cfg.decode_head.update(prompts='base', loss_prompts=dict(rounds=1, keep=1.0))
        model = MODELS.build(cfg)
        model.init_weights()
        return model.train()

    return build


def batch(number=2, height=64):
    images = torch.randn(number, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    samples = []
    for i in range(number):
        mask = torch.zeros(1, height, 64, dtype=torch.long)
        mask[:, :, :40] = 1
        prompts = dict(boxes=[[0.0, 0.0, 30.0, 30.0]], points=[[5, 5]], by_box=[True], seed=i)
        samples.append(
            SegDataSample(
                metainfo=dict(img_shape=(height, 64), prompts=prompts),
                gt_sem_seg=PixelData(data=mask),
                gt_objects=PixelData(data=mask.to(torch.uint8)),
            )
        )
    return images, samples


@pytest.mark.parametrize('method', METHODS)
def test_the_base_stays_whatever_is_trained(model, method):
    """The loss is 0 at the start where the method is the identity there, then not; the twin is the
    base after that too, and no part of the model."""
    tuned, (images, samples) = model(method), batch()
    names = set(tuned.state_dict())
    base = tuned.base_encoder.encoder
    before = [one.clone() for one in base.state_dict().values()]
    tuned.eval()
    start = tuned.loss(images, samples)['loss_keep']
    assert not tuned.backbone.peft.identity_at_init or start.item() == pytest.approx(0, abs=1e-5)
    optimizer = torch.optim.SGD([one for one in tuned.parameters() if one.requires_grad], lr=0.5)
    sum(value for name, value in tuned.loss(images, samples).items() if 'loss' in name).backward()
    optimizer.step()
    after = tuned.loss(images, samples)['loss_keep']
    assert after > 1e-4
    assert all(one.equal(old) for one, old in zip(base.state_dict().values(), before, strict=True))
    assert names == set(tuned.state_dict()) and not any('base' in name for name in names)
    shared = {id(one) for one in base.parameters()} & {id(one) for one in tuned.parameters()}
    frozen = [one for name, one in tuned.named_parameters() if not one.requires_grad]
    assert shared <= {id(one) for one in frozen} and (method == 'Full' or len(shared) > 10)


def test_it_pulls_answers_back(model):
    """Training on this loss alone brings a model that has gone astray back to the base."""
    tuned, (images, samples) = model(), batch()
    trained = [one for one in tuned.parameters() if one.requires_grad]
    torch.manual_seed(1)
    for one in trained:
        one.data += 0.05 * torch.randn_like(one)
    optimizer, history = torch.optim.Adam(trained, 3e-3), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = tuned.loss(images, samples)['loss_keep']
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.3 * history[0]


def test_stored_maps_give_the_same(model):
    tuned, (images, samples) = model('LoRA', blocks='last:1'), batch()
    for one in tuned.parameters():
        if one.requires_grad:
            one.data += 0.1
    prefix = FrozenPrefix(tuned.backbone)
    assert prefix.blocks == 1
    plain = tuned.loss(images, samples)['loss_keep']
    stored = tuned.loss(Encoded(prefix, prefix(images)), samples)['loss_keep']
    assert plain > 0.01 and torch.allclose(plain, stored, rtol=1e-5)


def test_what_the_base_is_asked(model):
    """Clicks that are not on the class nor in the padding, boxes around its own best masks, clicks
    that contradict it; the same for the same seeds."""
    tuned, (images, samples) = model(), batch(height=40)
    maps = tuned.base_encoder(images)
    with torch.no_grad():
        asked, again = (
            list(questions(tuned.decode_head, maps, copy.deepcopy(samples))) for _ in range(2)
        )
    clicks, boxes, more = asked
    for one, other in zip(asked, again, strict=True):
        assert one.logits.equal(other.logits) and one.prompts.points.equal(other.prompts.points)
    assert clicks.multimask and clicks.logits.shape == (2 * CLICKS, 3, 16, 16)
    x, y = clicks.prompts.points[:, 0].T
    assert (x >= 40).all() and (y < 40).all() and clicks.prompts.image.tolist() == [0, 0, 1, 1]
    valid = inside(samples, clicks.logits, 16)
    assert valid[0, 0].sum(0).tolist() == [10] * 16, '40 of 64 rows are 10 of 16 cells'
    rows = torch.arange(len(x))
    best = clicks.logits[rows, clicks.iou.argmax(1)]
    for box, number in zip(boxes.prompts.boxes, (1, 3), strict=True):
        seen = (best[number] > 0) & valid[clicks.prompts.image[number], 0]
        row, column = np.nonzero(seen.numpy())
        around = [4 * column.min(), 4 * row.min(), 4 * column.max() + 3, 4 * row.max() + 3]
        assert np.abs(box.numpy() - around).max() <= 20 and box[3] <= 39
    for points, labels, mask, number in zip(
        more.prompts.points, more.prompts.labels, more.prompts.masks, (0, 2), strict=True
    ):
        assert points[0].tolist() == [x[number], y[number]] and labels[0] == 1
        assert mask[0].equal(best[number])
        seen = (best[number] > 0) & valid[clicks.prompts.image[number], 0]
        assert bool(labels[1]) != bool(seen[int(points[1, 1]) // 4, int(points[1, 0]) // 4])


def test_images_of_nothing_but_the_class_have_no_questions(model):
    tuned, (images, samples) = model(), batch()
    for sample in samples:
        sample.gt_sem_seg.data[:] = 1
    loss = tuned.loss(images, samples)['loss_keep']
    loss.backward()
    assert loss == 0
    assert all(one.grad is not None for one in tuned.decode_head.parameters() if one.requires_grad)


def test_cells_that_are_no_whole_pixels(monkeypatch):
    """SAM 3's stride is 14: a cell of the logits is 3.5 pixels wide."""
    logits = torch.full((2 * CLICKS, 3, 16, 16), -1.0)
    logits[:, :, 4:8, 8:12] = 1
    head = SimpleNamespace(
        stride=14,
        prompted=lambda maps, prompts, *_: (logits[: len(prompts.image)], logits[:, :, 0, 0]),
    )
    sample = batch(1)[1][0]
    sample.set_metainfo(dict(img_shape=(56, 56)))
    monkeypatch.setattr(
        'mmsam_peft.models.decode_heads.keeping.moved_box', lambda box, *_: box.tolist()
    )
    _, boxed, clicked = questions(head, (torch.zeros(1),), [sample, sample])
    assert boxed.prompts.boxes.tolist() == [[28, 14, 41, 27]] * CLICKS
    points, labels = clicked.prompts.points[:, 1], clicked.prompts.labels[:, 1]
    for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True):
        assert label == (not (28 <= x < 42 and 14 <= y < 28))


def test_distance():
    """Of one mask, by hand: pixels of probability 0.8 and 0.5, wanted 0.8 and 0.2."""
    logit = torch.logit(torch.tensor([0.8, 0.5, 0.9])).reshape(1, 1, 1, 3)
    wanted = torch.logit(torch.tensor([0.8, 0.2, 0.1])).reshape(1, 1, 1, 3)
    valid = torch.tensor([True, True, False]).reshape(1, 1, 1, 3)
    divergence = (0.2 * np.log(0.2 / 0.5) + 0.8 * np.log(0.8 / 0.5)) / 2
    both, squares = 0.8 * 0.8 + 0.5 * 0.2, 0.8**2 + 0.5**2 + 0.8**2 + 0.2**2
    expected = divergence + 1 - (2 * both + 1) / (squares + 1)
    assert distance(logit, wanted, valid).item() == pytest.approx(expected, abs=1e-6)
    assert distance(wanted, wanted, valid).item() == pytest.approx(0, abs=1e-6)


def test_refused(tiny):
    cfg = tiny().model
    cfg.decode_head.update(prompts='base', loss_prompts=dict(keep=1.0))
    untrained = MODELS.build(cfg)
    with pytest.raises(ValueError, match=r'which init_weights\(\) sets up'):
        untrained.loss(*batch())
    with pytest.raises(ValueError, match='base.pth has no mask decoder, .* set prompts.keep=0'):
        untrained.init_weights()
    cfg.decode_head.prompts = {}
    with pytest.raises(ValueError, match='keep=1.0 holds .*prompts=.base'):
        MODELS.build(cfg)
