from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.runner.checkpoint import get_state_dict, load_checkpoint, save_checkpoint
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmsam_peft.registry import MODELS

ARCH = dict(
    embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=32
)

TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=4),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals', weight=4.0),
]
SHARED, PER_TASK = (
    dict(type='LoRA', rank=2),
    dict(type='TALoRA', num_tasks=3, ranks=(2, 2, 2), dropout=0.0),
)


@pytest.fixture
def build(randomise):
    def build(peft=PER_TASK, tasks=TASKS, **changes):
        backbone = dict(type='SAMViT', arch=dict(ARCH), img_size=64, peft=peft)
        head = dict(type='MSAMHead', in_channels=32, num_heads=2, mlp_dim=64)
        return randomise(
            MODELS.build(
                ConfigDict(
                    {
                        **dict(
                            type='MultiTaskSegmentor',
                            tasks=tasks,
                            backbone=backbone,
                            decode_head=head,
                            data_preprocessor=dict(
                                type='SegDataPreProcessor',
                                size=(64, 64),
                                test_cfg=dict(size=(64, 64)),
                            ),
                            test_cfg=dict(mode='whole'),
                        ),
                        **changes,
                    }
                )
            )
        )

    return build


def sample(size=(48, 64), lacks=()):
    """Labels of 30 x 40 for an image of 48 x 64; the first rows of each are not valid."""
    labels = dict(
        seg=torch.randint(4, (1, 30, 40)),
        depth=torch.rand(1, 30, 40) + 1,
        normals=F.normalize(torch.randn(3, 30, 40), dim=0),
    )
    valid = torch.ones(1, 30, 40, dtype=torch.bool)
    valid[:, :4] = False
    found = SegDataSample(
        metainfo=dict(img_shape=size, pad_shape=(64, 64), ori_shape=(30, 40), img_path='a.png')
    )
    for name, label in labels.items():
        if name not in lacks:
            found.set_field(PixelData(data=label, valid=valid.clone()), f'gt_{name}')
    return found


@pytest.mark.parametrize('peft', [SHARED, PER_TASK, None], ids=['shared', 'per task', 'full'])
def test_losses_are_those_of_the_tasks_at_label_size(build, peft):
    model, samples = build(peft).eval(), [sample(), sample((64, 64))]
    images = torch.randn(2, 3, 64, 64)
    losses = model.loss(images, samples)
    outputs = model.outputs(images, list(model.tasks))
    for name, task in model.tasks.items():
        resized = []
        for output, one in zip(outputs[name], samples, strict=True):
            full = F.interpolate(output[None], size=(64, 64), mode='bilinear')[
                ..., : one.img_shape[0], :
            ]
            resized.append(F.interpolate(full, size=(30, 40), mode='bilinear')[0])
        labels, valid = (
            torch.stack([getattr(one.get(f'gt_{name}'), kind) for one in samples])
            for kind in ('data', 'valid')
        )
        torch.testing.assert_close(
            losses[f'{name}.loss'], task.loss(torch.stack(resized), labels, valid)
        )


@pytest.mark.parametrize('peft', [SHARED, PER_TASK], ids=['shared', 'per task'])
def test_one_task_after_the_other_is_all_at_once(build, peft):
    """Losses and, summed over the tasks, gradients."""
    model, samples, images = build(peft).eval(), [sample(), sample()], torch.randn(2, 3, 64, 64)
    together = model.task_losses(images, samples, list(model.tasks))
    sum(together.values()).backward()
    expected = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    model.zero_grad()
    for name in model.tasks:
        ((key, loss),) = model.task_losses(images, samples, [name]).items()
        torch.testing.assert_close(loss, together[key])
        loss.backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('one_by_one', [False, True])
@pytest.mark.parametrize('weighting', [None, dict(type='PCGrad')])
def test_a_step(build, weighting, one_by_one):
    """The default is the mean by the tasks' weights, 1, 1 and 4; whatever the weighting, all that
    is trained moves."""
    model = build(weighting=weighting, one_by_one=one_by_one)
    batch = dict(
        inputs=[torch.randint(255, (3, 64, 64), dtype=torch.uint8)] * 2,
        data_samples=[sample(), sample()],
    )
    before = {name: value.clone() for name, value in model.named_parameters()}
    wrapper = OptimWrapper(
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    )
    log = model.train_step(batch, wrapper)
    if weighting is None:
        expected = (log['seg.loss'] + log['depth.loss'] + 4 * log['normals.loss']) / 6 + log[
            'loss_ortho'
        ]
        torch.testing.assert_close(log['loss'], expected)
    moved = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert moved <= trained and all(name.endswith('k_proj.bias') for name in trained - moved)


def test_samples_that_lack_tasks(build):
    """Each pixel counts where it is labelled; a task that no sample has costs nothing and keeps its
    gradients at zero."""
    model, images = build().eval(), torch.randn(2, 3, 64, 64)
    torch.manual_seed(1)
    samples = [sample(lacks=('depth', 'normals')), sample(lacks=('normals',))]
    losses = model.loss(images, samples)
    alone = model.task_losses(images[1:], samples[1:], ['depth'])
    torch.testing.assert_close(losses['depth.loss'], alone['depth.loss'])
    assert losses['normals.loss'] == 0
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained), (
        'data-parallel training waits for every gradient'
    )
    assert all(
        parameter.grad.abs().max() == 0
        for parameter in model.decode_head.decoders.normals.parameters()
    )


@pytest.mark.parametrize('peft', [SHARED, PER_TASK], ids=['shared', 'per task'])
def test_predictions_at_the_size_of_the_image(build, peft):
    model, samples = build(peft).eval(), [sample(), sample((64, 64))]
    samples[1].set_metainfo(dict(ori_shape=(100, 110)))
    with torch.no_grad():
        single = model.predict(
            torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), samples
        )
    for one in single:
        size = one.ori_shape
        assert one.pred_seg.data.shape == (1, *size) and set(
            one.pred_seg.data.unique().tolist()
        ) <= set(range(4))
        assert one.pred_depth.data.shape == (1, *size)
        torch.testing.assert_close(one.pred_normals.data.norm(dim=0), torch.ones(size))
    assert 'pred_seg' in model.predict(torch.randn(1, 3, 64, 64))[0]


@pytest.mark.parametrize('task', [task['name'] for task in TASKS])
def test_predictions_that_are_not_finite(build, task):
    """Of the second image: one number, in what would become a class, a depth or a direction."""
    model, samples = build(SHARED).eval(), [sample(), sample()]
    samples[1].set_metainfo(dict(img_path='b.png'))
    plain = model.outputs

    def outputs(*args):
        found = plain(*args)
        found[task][1, 0, 3, 3] = torch.nan
        return found

    model.outputs = outputs
    with (
        torch.no_grad(),
        pytest.raises(
            ValueError, match=f'^b.png: the model gives outputs of the task {task} that are NaN'
        ),
    ):
        model.predict(torch.randn(2, 3, 64, 64), samples)


def test_labels_of_several_sizes(build):
    """A batch is what its images are, weighted by their valid pixels."""
    model, images = build().eval(), torch.randn(2, 3, 64, 64)
    samples = [sample(), sample()]
    small = samples[1].gt_depth
    samples[1].gt_depth = PixelData(data=small.data[:, :20, :25], valid=small.valid[:, :20, :25])
    loss = model.task_losses(images, samples, ['depth'])['depth.loss']
    parts = [
        model.task_losses(images[i : i + 1], samples[i : i + 1], ['depth'])['depth.loss']
        for i in (0, 1)
    ]
    count = [one.gt_depth.valid.sum() for one in samples]
    torch.testing.assert_close(
        loss, sum(part * n for part, n in zip(parts, count, strict=True)) / sum(count)
    )


def test_wrong_settings(build):
    with pytest.raises(
        ValueError, match='num_tasks=2, but there are 3 tasks: seg, depth, normals. Set it to 3'
    ):
        build(dict(type='TALoRA', num_tasks=2))
    with pytest.raises(
        ValueError, match="names \\['seg', 'seg'\\], expected at least one, and each only once"
    ):
        build(None, [TASKS[0], TASKS[0]])


def test_predictions_are_float32_under_autocast(build):
    """Near those of float32; metrics and pictures know no bfloat16."""
    model, images = build().eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        exact = model.predict(images, [sample(), sample()])
        with torch.autocast('cpu', torch.bfloat16):
            found = model.predict(images, [sample(), sample()])
    for one, other in zip(found, exact, strict=True):
        for name in ('pred_depth', 'pred_normals'):
            value, expected = one.get(name).data, other.get(name).data
            assert value.dtype == torch.float32
            assert 0 < (value - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize('peft', [SHARED, PER_TASK], ids=['shared', 'per task'])
def test_sliding_windows_average_the_outputs(build, peft):
    """On a plain loop, for an image of 60 x 70 in windows of 48 x 40, of which 40 is no multiple of
    16; labels of 30 x 40."""
    model = build(peft, test_cfg=dict(mode='slide', crop_size=(48, 40), stride=(24, 30))).eval()
    images, samples = torch.randn(2, 3, 60, 70), [sample((60, 70)), sample((60, 70))]
    with torch.no_grad():
        found = model.predict(images, samples)
        totals = {name: torch.zeros(2, task.channels, 60, 70) for name, task in model.tasks.items()}
        count = torch.zeros(60, 70)
        for top in (0, 12):
            for left in (0, 30):
                outputs = model.outputs(
                    images[..., top : top + 48, left : left + 40], list(model.tasks)
                )
                count[top : top + 48, left : left + 40] += 1
                for name, output in outputs.items():
                    window = F.interpolate(output, size=(48, 48), mode='bilinear')[..., :40]
                    totals[name][..., top : top + 48, left : left + 40] += window
    for name, task in model.tasks.items():
        expected = task.predict(F.interpolate(totals[name] / count, size=(30, 40), mode='bilinear'))
        for one, value in zip(found, expected, strict=True):
            if value.is_floating_point():
                torch.testing.assert_close(
                    one.get(f'pred_{name}').data, value, rtol=1e-4, atol=1e-5
                )
            else:
                assert (one.get(f'pred_{name}').data == value).float().mean() > 0.999


def test_a_checkpoint_of_another_order_is_refused(build, tmp_path):
    """Where the order counts; as MMEngine saves and loads."""
    for peft, refused in ((PER_TASK, True), (SHARED, False)):
        save_checkpoint(dict(state_dict=get_state_dict(build(peft))), str(tmp_path / 'a.pth'))
        load_checkpoint(build(peft), str(tmp_path / 'a.pth'), map_location='cpu')
        expected = pytest.raises(
            ValueError,
            match='seg, depth, normals, in this order; the model has normals, depth, seg',
        )
        with expected if refused else nullcontext():
            load_checkpoint(
                build(peft, tasks=TASKS[::-1]), str(tmp_path / 'a.pth'), map_location='cpu'
            )
