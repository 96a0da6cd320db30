import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file

from mmsam_peft.registry import MODELS

CROSS_ENTROPY = dict(type='CrossEntropyLoss', avg_non_ignore=True)
CONV_LORA = dict(type='ConvLoRA', rank=2, num_experts=2)
FCN = dict(
    type='FCNHead',
    in_channels=32,
    channels=8,
    num_convs=1,
    num_classes=3,
    loss_decode=CROSS_ENTROPY,
)
UPER = dict(
    type='UPerHead',
    in_channels=[32, 32],
    in_index=[0, 1],
    pool_scales=(1, 2),
    channels=8,
    num_classes=3,
    loss_decode=CROSS_ENTROPY,
)
MULTI = dict(num_classes=3, num_queries=5)


def step(model, images, samples):
    losses = model(images, samples, mode='loss')
    total, log = model.parse_losses(losses)
    total.backward()
    return losses, total, log


@pytest.mark.parametrize('peft', ['ConvLoRA', 'LoRA', 'Frozen', 'Full', None])
@pytest.mark.parametrize('head', [{}, MULTI])
def test_every_trained_parameter_gets_a_gradient(segmentor, batch, peft, head):
    model = segmentor(peft=peft and dict(type=peft), head=head).train()
    step(model, *batch(head.get('num_classes', 2)))
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize(
    'head, out_indices',
    [(FCN, None), (FCN, (1,)), (UPER, (0, 1)), ([FCN, {**FCN, 'in_index': 0}], (0, 1))],
)
@pytest.mark.parametrize('kind', ['EncoderDecoder', 'PEFTSegmentor'])
def test_heads_of_mmsegmentation(arch, batch, head, out_indices, kind):
    head, auxiliary = head if isinstance(head, list) else (head, None)
    backbone = dict(type='SAMViT', arch=arch, img_size=64, peft=CONV_LORA, out_indices=out_indices)
    model = MODELS.build(
        ConfigDict(
            type=kind,
            backbone=backbone,
            decode_head=head,
            auxiliary_head=auxiliary,
            test_cfg=dict(mode='whole'),
        )
    ).train()
    images, samples = batch(3)
    losses, _, _ = step(model, images, samples)
    assert ('loss_balance' in losses) == (kind == 'PEFTSegmentor') and (
        'aux.loss_ce' in losses
    ) == (auxiliary is not None)
    unused = (
        ('lora_w_gate', 'lora_w_noise') if kind == 'EncoderDecoder' else ()
    )  # nobody adds the gate's loss there
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad or name.endswith(unused), (
            name
        )
    assert model.eval().predict(images, samples)[0].pred_sem_seg.data.shape == (1, 64, 64)


def test_auxiliary_losses_are_in_log_and_total(segmentor, batch):
    model = segmentor(peft=CONV_LORA).train()
    losses, total, log = step(model, *batch())
    assert (
        set(losses) == {'decode.loss_structure', 'loss_balance'}
        and losses['loss_balance'].requires_grad
    )
    torch.testing.assert_close(total, losses['decode.loss_structure'] + losses['loss_balance'])
    assert log['loss_balance'] == losses['loss_balance'] and log['loss'] == total


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('head', [{}, MULTI])
@pytest.mark.parametrize(
    'peft', [CONV_LORA, dict(type='LoRA'), dict(type='Full')], ids=lambda peft: peft['type']
)
def test_half_precision_is_finite(segmentor, batch, randomise, dtype, head, peft):
    model = randomise(segmentor(peft=peft, head=head)).train()
    images, samples = batch(head.get('num_classes', 2), (72, 64))
    with torch.autocast('cpu', dtype=dtype):
        losses = model(images, samples, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite() and total.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    exact, _ = model.eval().parse_losses(model(images, samples, mode='loss'))
    assert exact.isfinite()


@pytest.mark.parametrize('forward', ['loss', 'tensor'])
def test_copies_and_pickles_after_training(segmentor, batch, randomise, forward):
    model = randomise(segmentor(peft=CONV_LORA)).train()
    images, samples = batch()
    model(images, samples, mode=forward)
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for other in copies:
        assert torch.equal(other.eval()(images), model.eval()(images))


@pytest.mark.parametrize('head', [{}, MULTI])
def test_sliding_windows_average(segmentor, batch, randomise, head):
    model = randomise(
        segmentor(head=head, test_cfg=dict(mode='slide', crop_size=(48, 40), stride=(24, 30)))
    ).eval()
    images, samples = batch(2, (60, 70))
    with torch.no_grad():
        y = model.inference(images, [sample.metainfo for sample in samples])
        total, count = torch.zeros_like(y), torch.zeros(60, 70)
        for top in (0, 12):
            for left in (0, 30):
                window = images[..., top : top + 48, left : left + 40]
                padded = F.pad(window, (0, 8))  # 40 is no multiple of 16
                logits = model.decode_head.predict(
                    model.backbone(padded), [dict(img_shape=(48, 48))], {}
                )[..., :40]
                total[..., top : top + 48, left : left + 40] += logits
                count[top : top + 48, left : left + 40] += 1
    torch.testing.assert_close(y, total / count, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'mode', [dict(mode='whole'), dict(mode='slide', crop_size=(48, 40), stride=(24, 30))]
)
@pytest.mark.parametrize('head', [{}, MULTI])
def test_logits_are_float32_under_autocast(segmentor, batch, randomise, head, mode):
    """Near those of float32, whose averages, resized masks and comparisons they enter."""
    model = randomise(segmentor(head=head, test_cfg=mode)).eval()
    images, samples = batch(2, (60, 70))
    with torch.no_grad():
        exact = model.predict(images, copy.deepcopy(samples))
        with torch.autocast('cpu', torch.bfloat16):
            found = model.predict(images, copy.deepcopy(samples))
    for one, other in zip(found, exact, strict=True):
        logits, expected = one.seg_logits.data, other.seg_logits.data
        assert logits.dtype == torch.float32
        assert 0 < (logits - expected).norm() < 0.05 * expected.norm()
        assert (one.pred_sem_seg.data == other.pred_sem_seg.data).float().mean() > 0.9


def foreign(state, kind):
    """A state dict that matches nothing, or one tensor of another shape."""
    if kind == 'matches nothing':
        return {f'image_encoder.{key}': value for key, value in state.items()}
    return {**state, 'backbone.neck.0.weight': torch.zeros(16, 32, 1, 1)}


@pytest.mark.parametrize(
    'kind, message',
    [
        (
            'matches nothing',
            r'Nothing in the checkpoint matches the model: got image_encoder\..*model\.checkpoint',
        ),
        (
            'other shape',
            r'does not fit .* backbone\.neck\.0\.weight \(16, 32, 1, 1\) float32, the model has '
            r'\(32, 32, 1, 1\)',
        ),
    ],
)
@pytest.mark.parametrize('road', ['load_state_dict', '.pth', '.safetensors'])
def test_foreign_weights_are_refused(segmentor, tmp_path, kind, message, road):
    model = segmentor()
    before = copy.deepcopy(model.state_dict())
    state = foreign(model.state_dict(), kind)
    path = str(tmp_path / f'weights{road}')
    with pytest.raises(ValueError, match=message):
        if road == 'load_state_dict':
            model.load_state_dict(state, strict=False)
        else:
            save_file(state, path) if road == '.safetensors' else torch.save(
                {'state_dict': state}, path
            )
            load_checkpoint(model, path)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_own_weights_come_back(segmentor, randomise, tmp_path, batch):
    trained, fresh = randomise(segmentor(peft=CONV_LORA)), segmentor(peft=CONV_LORA)
    torch.save({'state_dict': trained.state_dict(), 'meta': {}}, tmp_path / 'epoch_1.pth')
    load_checkpoint(fresh, str(tmp_path / 'epoch_1.pth'))
    images, _ = batch()
    assert torch.equal(fresh.eval()(images), trained.eval()(images))
