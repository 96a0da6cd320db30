import numpy as np
import pytest
import torch

from mmsam_peft.registry import TASKS
from mmsam_peft.tasks import Task, build_tasks
from mmsam_peft.tasks.base import GREY

from .conftest import CONFIGS, KINDS, PROTOCOLS, batch, images, make, summarise


@pytest.fixture(params=KINDS)
def task(request):
    return make(request.param)


def test_all_kinds_are_tested():
    assert set(TASKS.module_dict) == set(CONFIGS)


def test_build_tasks():
    depth, parts = build_tasks(
        [
            dict(type='Depth', name='d', weight=2),
            dict(type='HumanParts', name='p', protocol='per_image'),
        ]
    )
    assert (depth.name, depth.weight, depth.channels, depth.protocol) == ('d', 2, 1, 'pooled')
    assert (parts.name, parts.weight, parts.channels, parts.protocol) == ('p', 1, 7, 'per_image')
    for configs in [], [dict(type='Depth', name='d'), dict(type='Edges', name='d')]:
        with pytest.raises(ValueError, match='expected at least one, and each only once'):
            build_tasks(configs)


@pytest.mark.parametrize(
    'settings, match',
    [
        (dict(name='a.b'), r"named 'a\.b', expected letters"),
        (dict(weight=0), "weight=0 of task 'it': expected a positive"),
        (dict(weight=float('nan')), 'weight=nan'),
        (dict(protocol='per_batch'), "'per_batch' of task 'it': expected 'pooled' or 'per_image'"),
    ],
)
def test_bad_arguments(settings, match):
    with pytest.raises(ValueError, match=match):
        Task(**dict(name='it') | settings)


def test_own_labels_pass_the_check_and_wrong_channels_do_not(task):
    _, label, valid = batch(task)
    array = label[0].permute(1, 2, 0).numpy()
    task.check(array)
    assert 0 < task.valid(array).mean() < 1
    task.check(array[~task.valid(array)][:, None])  # nothing but invalid pixels
    for wrong in array[..., 0], np.concatenate([array, array], axis=2):
        with pytest.raises(
            ValueError,
            match=rf"{type(task).__name__} 'it': .* expected \(H, W, {task.label_channels}\)",
        ):
            task.check(wrong)


def test_loss_is_of_valid_pixels_only(task):
    output, label, valid = batch(task)
    loss = task.loss(output, label, valid)
    assert loss.dtype == torch.float64 and loss > 0
    other = torch.where(valid, label, 1)
    far = torch.where(valid, output, 1000)
    torch.testing.assert_close(task.loss(far, other, valid), loss, rtol=1e-12, atol=0)
    fewer = valid & (torch.arange(valid.shape[3]) < 3)
    torch.testing.assert_close(
        task.loss(output, label, fewer),
        task.loss(*(one[..., :3] for one in (output, label, valid))),
        rtol=1e-12,
        atol=0,
    )


def test_an_invalid_pixel_has_no_gradient(task):
    output, label, valid = batch(task)
    output.requires_grad_()
    task.loss(output, label, valid).backward()
    assert (output.grad[~valid.expand_as(output)] == 0).all()
    assert output.grad.isfinite().all() and output.grad.any()


def test_no_valid_pixel_is_zero_with_a_graph(task):
    output, label, valid = batch(task)
    output.requires_grad_()
    loss = task.loss(output, label, torch.zeros_like(valid))
    assert loss == 0 and loss.requires_grad
    loss.backward()
    assert (output.grad == 0).all()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision(task, dtype):
    output, label, valid = batch(task, dtype=dtype)
    output.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        loss, predicted = task.loss(output, label, valid), task.predict(output)
    assert loss.dtype == torch.float32 and predicted.dtype in (torch.float32, torch.int64)
    torch.testing.assert_close(
        loss.double(), task.loss(output.double(), label, valid), rtol=1e-5, atol=0
    )
    loss.backward()
    assert output.grad.isfinite().all() and output.grad.any()


def test_loss_needs_fitting_shapes(task):
    output, label, valid = batch(task)
    for wrong in (
        (output[:, :1].repeat(1, task.channels + 1, 1, 1), label, valid),
        (output[:1], label, valid),
        (output, label[..., 1:], valid),
        (output, label, valid[:, 0]),
    ):
        with pytest.raises(
            ValueError, match=rf"'it' got output .* expected \(B, {task.channels}, H, W\)"
        ):
            task.loss(*wrong)


def test_predictions_have_the_channels_of_labels(task):
    output, label, _ = batch(task)
    assert task.predict(output).shape == label.shape


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_pictures_without_valid_pixels_take_no_part(task, protocol):
    scenes = images(task)
    void = [
        (prediction, label, np.zeros_like(valid))
        for prediction, label, valid in images(task, 2, seed=1)
    ]
    assert summarise(task, scenes + void, protocol) == summarise(task, scenes, protocol)
    with pytest.raises(
        ValueError, match="'it' has no labelled pixel in any of the 2 evaluated images"
    ):
        summarise(task, void, protocol)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_order_does_not_matter_and_statistics_are_left_alone(task, protocol):
    measured = [task.measure(*scene) for scene in images(task)]
    first = task.summarise(measured, protocol)
    assert list(first) == list(task.better)
    assert task.summarise(measured[::-1], protocol) == pytest.approx(first, rel=1e-12)
    assert task.summarise(measured, protocol) == first


def test_protocols_differ(task):
    scenes = images(task)
    pooled, per_image = (summarise(task, scenes, protocol) for protocol in PROTOCOLS)
    assert all(abs(pooled[metric] / per_image[metric] - 1) > 1e-4 for metric in pooled)
    for protocol in PROTOCOLS:
        assert summarise(task, scenes[:1] * 3, protocol) == pytest.approx(
            summarise(task, scenes[:1], 'pooled'), rel=1e-12
        )


def test_pictures_are_grey_where_there_is_no_value(task):
    for prediction, label, valid in images(task):
        drawn = task.draw(label)
        assert drawn.shape == (*label.shape[1:], 3) and drawn.dtype == np.uint8
        grey = (drawn == GREY).all(-1)
        assert (grey == ~valid[0]).all()
        assert not (task.draw(prediction) == GREY).all(-1).any()
