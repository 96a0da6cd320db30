import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.visualization import SegLocalVisualizer

from mmsam_peft.models import SAMMaskHead
from mmsam_peft.models.backbones.sam_keys import to_sam_keys
from mmsam_peft.peft import count_parameters

SIZES = dict(in_channels=32, num_heads=2, mlp_dim=64)
MULTI = dict(num_classes=3, num_queries=5)


def test_golden_masks(golden, relative):
    state, _, _, sizes = golden
    head = SAMMaskHead(num_classes=3, num_queries=4, **sizes)
    head.load_sam(state, 'golden')
    size = state['io.embedding'].shape[2:]
    assert relative(head.pe_layer(size)[None], state['io.dense_pe']) < 1e-5
    assert relative(head.decode([state['io.embedding']])[1][:, :1], state['io.mask']) < 1e-5


@pytest.mark.parametrize('classes', [{}, MULTI])
def test_a_batch_is_its_images(classes, randomise):
    head = randomise(SAMMaskHead(**classes, **SIZES))
    x = torch.randn(3, 32, 4, 6)
    torch.testing.assert_close(
        head((x,)), torch.cat([head((image[None],)) for image in x]), rtol=1e-4, atol=1e-5
    )


def test_positions_stay_exact_in_half_precision():
    head, seen = SAMMaskHead(**SIZES), []
    head.transformer.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        head((torch.randn(1, 32, 16, 16),))
    assert torch.equal(seen[0][0], head.pe_layer((16, 16)))


def test_binary_size():
    head = SAMMaskHead()
    assert count_parameters(head) == (
        3_505_536,
        3_505_536 + 256,
    )  # the no-mask embedding stays frozen
    assert not hasattr(head, 'conv_seg') and head.class_head is None


def test_takes_the_indexed_map(randomise):
    head = randomise(SAMMaskHead(in_index=0, **SIZES))
    x = torch.randn(1, 32, 2, 2)
    assert torch.equal(head((x, None)), head((x,)))


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True),
        dict(type='LovaszLoss', loss_type='binary', reduction='none'),
        dict(type='DiceBCELoss'),
        [
            dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True),
            dict(type='StructureLoss', loss_weight=0.5),
        ],
    ],
)
def test_losses_of_mmsegmentation_and_ours(loss, randomise, batch):
    head = randomise(SAMMaskHead(loss_decode=loss, **SIZES))
    x, (_, samples) = torch.randn(2, 32, 4, 4), batch()
    losses = head.loss((x,), samples, {})
    labels = torch.cat([sample.gt_sem_seg.data for sample in samples])
    valid = labels != 255
    if 'loss_ce' in losses:
        logits = F.interpolate(head((x,)), size=(64, 64), mode='bilinear').squeeze(1)
        expected = F.binary_cross_entropy_with_logits(logits[valid], labels[valid].float())
        torch.testing.assert_close(losses['loss_ce'], expected)
    assert len(losses) == (len(loss) if isinstance(loss, list) else 1)
    sum(losses.values()).backward()
    assert all((p.grad is not None) == p.requires_grad for p in head.parameters())


@pytest.mark.parametrize('classes', [{}, MULTI])
@pytest.mark.parametrize('size', [(64, 64), (50, 33), (1, 1)])
def test_the_padding_is_cut_off(classes, size, randomise):
    head = randomise(SAMMaskHead(**classes, **SIZES))
    grid = [-(-side // 16) for side in size]
    x = torch.randn(1, 32, *grid)
    meta = dict(img_shape=size, pad_shape=size, ori_shape=size)
    padded = dict.fromkeys(meta, tuple(16 * side for side in grid))
    y = head.predict((x,), [meta], {})
    assert y.shape == (1, head.out_channels, *size)
    torch.testing.assert_close(y, head.predict((x,), [padded], {})[..., : size[0], : size[1]])


@pytest.mark.parametrize('size', [(64, 64), (50, 33)])
def test_the_loss_ignores_the_padding(size, randomise, batch):
    """Labels of 50 x 33 cost what they cost when padded to 64 x 48 with ignored pixels."""
    head = randomise(
        SAMMaskHead(
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True),
            **SIZES,
        )
    )
    x, (_, samples) = torch.randn(2, 32, -(-size[0] // 16), -(-size[1] // 16)), batch(size=size)
    loss = head.loss((x,), samples, {})['loss_ce']
    for sample in samples:
        labels = sample.gt_sem_seg.data
        padding = (0, -size[1] % 16, 0, -size[0] % 16)
        sample.gt_sem_seg = PixelData(data=F.pad(labels, padding, value=255))
    torch.testing.assert_close(loss, head.loss((x,), samples, {})['loss_ce'])


@pytest.mark.parametrize('queries', [4, 5, 20])
def test_queries_of_a_sam_checkpoint_differ(sam, queries):
    state = to_sam_keys(sam().state_dict())
    head = SAMMaskHead(num_classes=3, num_queries=queries, **SIZES)
    head.load_sam(state, 'sam')
    tokens = head.mask_tokens.weight
    assert torch.pdist(tokens).min() > 0.1 * tokens.norm(dim=1).mean()
    if queries == 4:
        assert torch.equal(tokens, state['mask_decoder.mask_tokens.weight'])
    else:
        first = state['mask_decoder.mask_tokens.weight'][0]
        distance = (tokens.detach() - first).square().mean().sqrt().item()
        assert distance == pytest.approx(first.std().item(), rel=0.3)


def test_multiclass_trains_everything(sam, batch):
    head = SAMMaskHead(**MULTI, **SIZES)
    head.load_sam(to_sam_keys(sam().state_dict()), 'sam')
    losses = head.loss((torch.randn(2, 32, 4, 4),), batch(3)[1], {})
    assert set(losses) == {'loss_cls', 'loss_mask', 'loss_dice'}
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert head.mask_tokens.weight.grad.abs().sum(1).min() > 0
    assert torch.pdist(head.mask_tokens.weight.grad).min() > 0


def test_semantic_output_is_marginalised(randomise):
    head = randomise(SAMMaskHead(**MULTI, **SIZES))
    x = torch.randn(2, 32, 3, 4)
    tokens, masks = head.decode([x])
    classes = head.class_head(tokens).softmax(-1)
    expected = sum(classes[:, q, :3, None, None] * masks[:, q, None].sigmoid() for q in range(5))
    y = head((x,))
    torch.testing.assert_close(y.exp(), expected)
    torch.testing.assert_close(y.softmax(1), expected / expected.sum(1, keepdim=True))


@pytest.mark.parametrize('classes', [{}, MULTI])
def test_method_in_the_decoder(sam, batch, classes):
    """Starts as the plain head; the transformer's own weights stay, all else trains on."""
    state = to_sam_keys(sam().state_dict())
    plain, head = (
        SAMMaskHead(**classes, **SIZES),
        SAMMaskHead(peft=dict(type='LoRA', rank=2), **classes, **SIZES),
    )
    for model in (plain, head):
        torch.manual_seed(0)
        model.load_sam(state, 'sam')
    head.load_state_dict(plain.state_dict(), strict=False)  # the class head is in no checkpoint
    x = torch.randn(2, 32, 4, 4)
    torch.testing.assert_close(head((x,)), plain((x,)), rtol=1e-5, atol=1e-6)
    sum(head.loss((x,), batch(3 if classes else 2)[1], {}).values()).backward()
    trained = {name for name, parameter in head.named_parameters() if parameter.requires_grad}
    assert trained == {
        name for name, parameter in head.named_parameters() if parameter.grad is not None
    }
    inside = {name for name in trained if name.startswith('transformer.')}
    assert inside and all('lora_' in name for name in inside)
    frozen = {
        name
        for name, parameter in plain.named_parameters()
        if name.startswith('transformer.') or not parameter.requires_grad
    }
    assert trained - inside == {name for name, _ in plain.named_parameters()} - frozen


def test_method_in_a_decoder_of_random_values(sam):
    encoder_only = {
        key: value
        for key, value in to_sam_keys(sam().state_dict()).items()
        if key.startswith('image_encoder.')
    }
    with pytest.raises(
        ValueError,
        match='vit.pth has no mask decoder, and decode_head.peft would freeze one of random values',
    ):
        SAMMaskHead(peft=dict(type='LoRA'), **SIZES).load_sam(encoder_only, 'vit.pth')


def test_method_for_encoders_only():
    with pytest.raises(
        ValueError, match='ConvLoRA needs .* maps .*, which TwoWayTransformer .* use one of .*LoRA'
    ):
        SAMMaskHead(peft=dict(type='ConvLoRA'), **SIZES)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(num_classes=3), 'num_classes=3 needs num_queries=N'),
        (dict(num_classes=3, num_queries=2), 'num_queries=2 is below num_classes=3'),
        (dict(loss_decode=dict(type='DiceLoss')), 'DiceLoss .* background: use DiceBCELoss'),
        (
            dict(loss_decode=[dict(type='StructureLoss'), dict(type='TverskyLoss')]),
            'TverskyLoss .* background',
        ),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        SAMMaskHead(**settings, **SIZES)


def test_a_decoder_of_another_size(sam):
    with pytest.raises(
        ValueError,
        match=r'another architecture: iou_token\.weight: \(1, 32\) in the checkpoint, \(1, 16\) in',
    ):
        SAMMaskHead(**{**SIZES, 'in_channels': 16}).load_sam(to_sam_keys(sam().state_dict()), 'sam')


def test_metric_and_visualiser_understand_the_prediction(segmentor, batch, tmp_path):
    model = segmentor().eval()
    images, samples = batch()
    with torch.no_grad():
        logits = model(images)
        predictions = model.predict(images, samples)
    probability = F.interpolate(logits, size=(64, 64), mode='bilinear').sigmoid()
    hits = union = 0
    for sample, p in zip(predictions, probability, strict=True):
        torch.testing.assert_close(sample.seg_logits.data, p)
        assert torch.equal(sample.pred_sem_seg.data.bool(), p > 0.5)
        labels, valid = sample.gt_sem_seg.data, sample.gt_sem_seg.data != 255
        hits += ((p > 0.5) & (labels == 1))[valid].sum().item()
        union += ((p > 0.5) | (labels == 1))[valid].sum().item()
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=('background', 'thing'), palette=[[0, 0, 0], [255, 0, 0]])
    metric.process({}, [sample.to_dict() for sample in predictions])
    intersects, unions = zip(*(result[:2] for result in metric.results), strict=True)
    assert sum(intersects)[1] == hits and sum(unions)[1] == union
    visualizer = SegLocalVisualizer(
        alpha=1, save_dir=str(tmp_path), vis_backends=[dict(type='LocalVisBackend')]
    )
    visualizer.dataset_meta = metric.dataset_meta
    predictions[0].pred_sem_seg.data[:, :32] = 1
    predictions[0].pred_sem_seg.data[:, 32:] = 0
    visualizer.add_datasample(
        'thing',
        np.zeros((64, 64, 3), np.uint8),
        predictions[0],
        draw_gt=False,
        with_labels=False,
        out_file=str(tmp_path / 'thing.png'),
    )
    drawn = cv2.imread(str(tmp_path / 'thing.png'))[..., ::-1]
    assert (drawn[:32] == [255, 0, 0]).all() and (drawn[32:] == 0).all()
