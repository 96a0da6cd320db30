"""A model learns to answer to boxes and clicks beside its answer without a prompt."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from two_processes import run_in_two_processes

from mmsam_peft.apis.settings import apply_settings
from mmsam_peft.models.backbones.sam_keys import to_sam_keys
from mmsam_peft.models.decode_heads.prompt_training import PromptLoss, click, gather, middles
from mmsam_peft.registry import MODELS

TINY = Path(__file__).parents[1] / 'data' / 'tiny.py'
SHARES = dict(box=0.5, point=0.3, none=0.2, rounds=3)


def options(**prompts) -> dict:
    """tests/data/tiny.py with the setting applied, whatever is in the environment."""
    config = Config.fromfile(TINY)
    apply_settings(config, dict(prompts={**SHARES, **prompts}))
    return {
        'model.decode_head': config.model.decode_head.to_dict(),
        'train_dataloader.dataset.pipeline': config.train_dataloader.dataset.pipeline,
    }


def discs(number: int, empty: bool = False) -> tuple[torch.Tensor, list[SegDataSample]]:
    """Pictures with a bright disc and a bright square, as a preprocessor gives them."""
    rows, columns = np.mgrid[:64, :64]
    images, samples = [], []
    for i in range(number):
        rng = np.random.default_rng(i)
        objects = np.zeros((64, 64), np.uint8)
        (row, column), radius = rng.integers(16, 48, 2), rng.integers(8, 14)
        objects[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = 1
        objects[:10, :10] = 2
        objects *= not empty
        images.append(rng.normal(0, 0.3, (3, 64, 64)) + 2 * (objects > 0))
        count = 0 if empty else 2
        prompts = dict(
            boxes=[
                [float(column - 12), float(row - 12), float(column + 12), float(row + 12)],
                [0.0, 0.0, 10.0, 9.0],
            ][:count],
            points=[[int(column), int(row)], [5, 5]][:count],
            by_box=[i % 2 == 0, i % 3 == 0][:count],
            seed=i,
        )
        samples.append(
            SegDataSample(
                metainfo=dict(img_shape=(64, 64), prompts=prompts),
                gt_sem_seg=PixelData(data=torch.from_numpy(objects > 0)[None].long()),
                gt_objects=PixelData(data=torch.from_numpy(objects)[None]),
            )
        )
    return torch.from_numpy(np.stack(images)).float(), samples


@pytest.fixture
def model(tiny):
    config = tiny()
    apply_settings(config, dict(prompts=SHARES))
    config.model.backbone.peft = dict(type='Full')
    config.model.decode_head.prompts = dict(train_encoder=True)
    config.model.checkpoint = None
    torch.manual_seed(0)
    return MODELS.build(config.model).train()


def total(losses: dict) -> torch.Tensor:
    return sum(value for name, value in losses.items() if 'loss' in name)


def test_loss_falls_and_the_iou_head_learns(model):
    images, samples = discs(8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(60):
        optimizer.zero_grad()
        losses = model(images, samples, mode='loss')
        total(losses).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        history.append({name: float(value.detach()) for name, value in losses.items()})
    first, last = (
        {name: np.mean([one[name] for one in part]) for name in history[0]}
        for part in (history[:5], history[-5:])
    )
    assert last['decode.loss_prompted'] < 0.5 * first['decode.loss_prompted']
    assert last['decode.loss_structure'] < 0.6 * first['decode.loss_structure']
    assert last['decode.loss_iou'] < 0.03, 'of the square of an IoU, which varies from 0 to 1'
    assert last['decode.prompted_iou_first'] > 0.5 and last['decode.prompted_iou_later'] > 0.5

    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        evaluator = Evaluator([dict(type='ClickMetric', thresholds=(70,), clicks=3, iou_at=(1, 3))])
    evaluator.metrics[0].bind(model.eval())
    preprocess = model.data_preprocessor
    preprocess.register_buffer('mean', torch.zeros(3, 1, 1), False)
    preprocess.register_buffer('std', torch.ones(3, 1, 1), False)
    batch = dict(inputs=list(images.flip(1)), data_samples=samples)
    evaluator.process(samples, batch)
    found = evaluator.evaluate(8)
    assert found['IoU@box'] > 60 and found['IoU@3'] > 60 and found['NoC@70'] < 2.5


def test_what_the_loss_is_made_of(model):
    """Shares of the loss with and without prompts, recomputed from the head's answers."""
    images, samples = discs(1)
    samples[0].metainfo['prompts'].update(by_box=[True, True])
    head = model.decode_head
    head.prompt_loss = PromptLoss(none=0.3, rounds=1)
    losses = head.loss(model.extract_feat(images), samples, {})
    maps, labels = model.extract_feat(images), samples[0].gt_sem_seg.data
    (boxed, clicked) = gather(samples, labels, (16, 16), 16, 255)
    assert len(boxed) == 2 and len(clicked) == 0
    logits, held = head.prompted(maps, boxed.prompts(None))
    found = [
        head.loss_decode(logits[i : i + 1], boxed.target[i : i + 1], ignore_index=255)
        for i in range(2)
    ]
    real = [
        ((logits[i, 0] > 0) & (boxed.target[i] == 1)).sum()
        / ((logits[i, 0] > 0) | (boxed.target[i] == 1)).sum()
        for i in range(2)
    ]
    assert torch.allclose(losses['loss_prompted'], 0.7 * torch.stack(found).mean(), atol=1e-6)
    error = ((held[:, 0] - torch.stack(real)) ** 2).mean()
    assert torch.allclose(losses['loss_iou'], 0.7 * error, atol=1e-6)
    head.prompt_loss = None
    plain = head.loss(maps, samples, {})['loss_structure']
    assert torch.allclose(losses['loss_structure'], 0.3 * plain, atol=1e-6)


def test_the_best_of_three_masks_counts(model):
    """Beside SAM's single mask."""
    images, samples = discs(1)
    samples[0].metainfo['prompts'].update(by_box=[False, False])
    head, maps = model.decode_head, model.extract_feat(images)
    _, clicked = gather(samples, samples[0].gt_sem_seg.data, (16, 16), 16, 255)
    head.prompt_loss = PromptLoss(none=0, rounds=1)
    found = head.loss(maps, samples, {})['loss_prompted']
    single, _ = head.prompted(maps, clicked.prompts(None))
    three, _ = head.prompted(maps, clicked.prompts(None), multimask=True)
    target, probability = (clicked.target == 1)[:, None], three.sigmoid()
    both = (probability * target).sum((2, 3))
    best = (both / ((probability + target.float()).sum((2, 3)) - both)).argmax(1)
    chosen = three[torch.arange(2), best][:, None]
    alone = head.loss_decode(single, clicked.target)
    of_three = head.loss_decode(chosen, clicked.target)
    assert torch.allclose(found, (of_three + alone) / 2, atol=1e-6)


def test_later_clicks_are_in_what_is_wrong(model):
    _, samples = discs(2)
    labels = torch.stack([one.gt_sem_seg.data[0] for one in samples])
    labels[:, 40:] = 255
    boxed, clicked = gather(samples, labels, (16, 16), 16, 255)
    for group in (boxed, clicked):
        empty = torch.full((len(group), 1, 16, 16), -1.0)
        before = [len(points) for points in group.points]
        click(group, empty, 0, 255)
        again = deepcopy(group)
        click(group, empty, 1, 255)
        click(again, empty, 1, 255)
        assert group.points == again.points, 'drawn from the seed'
        for i, points in enumerate(group.points):
            assert len(points) == before[i] + 2
            for x, y, label in points[before[i] :]:
                objects = samples[int(group.image[i])].gt_objects.data[0]
                number = group.seeds[i][1] + 1
                assert label == -1 or (objects[int(y), int(x)] == number and y < 40)
        right = torch.where(group.target == 1, 1.0, -1.0)[:, None]
        click(group, right, 2, 255)
        assert all(points[-1][2] == -1 for points in group.points), 'nothing is wrong'
    assert middles(16, 60, 16).tolist() == list(range(2, 60, 4))
    assert middles(8, 33, 16).tolist() == [3, 9, 15, 21, 27]


def test_objects_of_images_that_are_padded():
    """Rows of logits beyond the image take no part."""
    _, samples = discs(1)
    samples[0].metainfo['prompts'].update(by_box=[True, False])
    for name, size in (('gt_sem_seg', 64), ('gt_objects', 64)):
        field = samples[0].get(name)
        samples[0].set_field(PixelData(data=field.data[:, :40, :size]), name)
    labels = torch.full((1, 72, 64), 255)
    labels[:, :40] = samples[0].gt_sem_seg.data
    for group in gather(samples, labels, (20, 16), 16, 255):
        assert group.target.shape[1:] == (18, 16), '72 of the 80 rows of the encoder'
        assert (group.target[:, 10:] == 255).all() and (group.target[:, :10] != 255).all()
        for one, (_, number) in zip(group.target, group.seeds, strict=True):
            objects = samples[0].gt_objects.data[0, 2::4, 2::4]
            assert ((one[:10] == 1) == (objects == number + 1)).all()


def test_a_batch_without_objects_trains_every_parameter(model):
    """Else the other process of a parallel training would wait for ever."""
    for empty in (True, False):
        model.zero_grad()
        total(model(*discs(2, empty), mode='loss')).backward()
        assert all(one.grad is not None for one in model.parameters() if one.requires_grad)
        assert all(one.grad.isfinite().all() for one in model.parameters() if one.requires_grad)


def test_samples_without_prompts_are_refused(model):
    images, samples = discs(1)
    samples[0].set_metainfo(dict(prompts=None))
    with pytest.raises(ValueError, match='SamplePrompts.* before PackSegInputs'):
        model(images, samples, mode='loss')


def test_a_head_that_does_not_train_prompts_leaves_them_as_they_are(build):
    model = build({'model.decode_head.prompts': {}})
    names = model.decode_head.prompt_names
    trained = {name for name, one in model.decode_head.named_parameters() if one.requires_grad}
    assert names and not names & trained and 'transformer.norm_final_attn.weight' in trained
    with pytest.raises(ValueError, match='prompts=None does not give'):
        build({'model.decode_head.loss_prompts': dict(rounds=1)})
    with pytest.raises(ValueError, match='at least 1 round'):
        PromptLoss(rounds=0)


class Kill(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == 4:
            raise InterruptedError


def whole_sam(folder: Path) -> str:
    """Base weights in TINY_ROOT with a decoder and a prompt encoder of random values."""
    config = Config.fromfile(TINY).model
    config.update(checkpoint=None)
    config.backbone.peft = dict(type='Frozen')
    config.decode_head.prompts = True
    torch.manual_seed(2)
    state = to_sam_keys(MODELS.build(config).state_dict())
    torch.save({**state, **torch.load(folder / 'base.pth')}, folder / 'whole.pth')
    return str(folder / 'whole.pth')


def test_goes_on_bit_by_bit(make_runner, root):
    """With gradients of several iterations, in mixed precision, held to the base."""
    common = {
        **options(keep=1),
        'model.checkpoint': whole_sam(root),
        'train_cfg.max_epochs': 2,
        'param_scheduler.end': 2,
        'optim_wrapper.type': 'AutocastOptimWrapper',
        'optim_wrapper.accumulative_counts': 2,
    }
    whole = make_runner(deepcopy({**common, 'work_dir': str(root / 'whole')}))
    whole.train()
    ended = make_runner(deepcopy(common))
    ended.register_hook(Kill())
    with pytest.raises(InterruptedError):
        ended.train()
    resumed = make_runner(deepcopy({**common, 'resume': True}))
    resumed.train()
    one, other = whole.model.state_dict(), resumed.model.state_dict()
    assert all(value.equal(other[key]) for key, value in one.items())
    logged = whole.message_hub.get_scalar('train/decode.prompted_iou_later')
    assert 0 <= logged.current() <= 1
    assert 0 < whole.message_hub.get_scalar('train/loss_keep').current() < 1


def worker(rank: int, folder: Path, keep: float) -> None:
    """One of two processes, one of which has nothing to prompt in its second step."""
    config = Config.fromfile(TINY)
    apply_settings(config, dict(prompts=dict(SHARES, keep=keep)))
    config.model.checkpoint = str(folder / 'whole.pth') if keep else None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        model = MODELS.build(config.model).train()
        model.init_weights()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.05)
    for step in range(3):
        optimizer.zero_grad()
        total(parallel(*discs(2 + rank, empty=rank == step == 1), mode='loss')).backward()
        optimizer.step()
    torch.save(model.state_dict(), folder / f'{rank}.pth')


@pytest.mark.slow
@pytest.mark.parametrize('keep', [0, 1])
def test_two_processes_train_alike(root, scope, keep):
    whole_sam(root)
    run_in_two_processes(__file__, root, keep)
    one, other = (torch.load(root / f'{rank}.pth') for rank in (0, 1))
    assert all(value.equal(other[key]) for key, value in one.items())
