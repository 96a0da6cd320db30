"""The robot at models whose answers are known, against numbers by hand."""

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseTTAModel
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmsam_peft.engine.hooks.metric_model_hook import MetricModelHook
from mmsam_peft.evaluation import ClickMetric, PerSetMetric
from mmsam_peft.evaluation.click_metric import click_curves

SIDE, STRIDE = 64, 16


class Head:
    """Knows the true masks. Each click in a row of 8 pixels shows 16 more columns of what is in it,
    from the left; a box shows what is inside of it."""

    has_prompts, stride = True, STRIDE

    def __init__(self, target: torch.Tensor) -> None:
        self.target, self.asked = target, []

    def prompted(self, maps, prompts, multimask=False):
        self.asked.append((prompts, multimask))
        shown = torch.zeros(len(prompts), SIDE, SIDE)
        for i in range(len(prompts)):
            where = self.target[maps[-1][prompts.image[i], 0, 0, 0].long()].float()
            if prompts.boxes is None:
                top = int(prompts.points[i, 0, 1]) // 8 * 8
                inside = torch.zeros_like(where)
                inside[top : top + 8, : 16 * prompts.points.shape[1]] = 1
                where = where * inside
            else:
                x0, y0, x1, y1 = prompts.boxes[i].round().int().tolist()
                inside = torch.zeros_like(where)
                inside[y0 : y1 + 1, x0 : x1 + 1] = 1
                where = where * inside
            shown[i] = where
        logits = 20 * shown[:, None, 2::4, 2::4] - 10
        if multimask:
            return torch.cat([-logits, logits, -logits], 1), torch.tensor(
                [[0.2, 0.9, 0.1]] * len(prompts)
            )
        return logits, torch.ones(len(prompts), 1)


class Views(BaseTTAModel):
    def __init__(self):
        nn.Module.__init__(self)

    def merge_preds(self, samples):
        return samples


class Model(nn.Module):
    test_cfg: dict = {}

    def __init__(self, target: torch.Tensor) -> None:
        super().__init__()
        self.decode_head = Head(target)

    def data_preprocessor(self, batch, training):
        return dict(inputs=torch.stack(batch['inputs']), data_samples=batch['data_samples'])

    def extract_feat(self, inputs):
        return (inputs[:, :1, ::STRIDE, ::STRIDE],)


def batch_of(labels: list[np.ndarray]) -> tuple[dict, list[dict]]:
    """A loader's batch, whose images hold their own number, and what a model predicted for it."""
    samples = [
        SegDataSample(
            metainfo=dict(img_shape=(SIDE, SIDE), img_path=f'/set/{i}.png'),
            gt_sem_seg=PixelData(data=torch.from_numpy(label)[None].long()),
        )
        for i, label in enumerate(labels)
    ]
    inputs = [torch.full((3, SIDE, SIDE), float(i)) for i in range(len(labels))]
    return dict(inputs=inputs, data_samples=samples), [one.to_dict() for one in samples]


def bar(width: int, top: int = 8, label: np.ndarray | None = None) -> np.ndarray:
    label = np.zeros((SIDE, SIDE), np.uint8) if label is None else label
    label[top : top + 8, :width] = 1
    return label


def scores(labels: list[np.ndarray], **settings) -> dict[str, float]:
    metric = ClickMetric(thresholds=(45, 90), clicks=4, iou_at=(1, 2), **settings)
    metric.bind(Model(torch.stack([torch.from_numpy(label == 1) for label in labels])))
    batch, samples = batch_of(labels)
    metric.process(batch, samples)
    return metric.evaluate(len(labels))


def test_by_hand():
    """Bars of 64, 32 and 16 columns: IoU 1/4, 1/2, 3/4, 1; 1/2, 1, 1, 1; and 1; but for a pixel at
    their corners, as logits are of 16 x 16 cells."""
    two = bar(16, top=40, label=bar(32))
    two[40:48, 0] = 255  # takes no part
    found = scores([bar(64), two, np.zeros((SIDE, SIDE), np.uint8)])
    assert found == pytest.approx(
        {
            'NoC@45': (2 + 1 + 1) / 3,
            'NoC@90': (4 + 2 + 1) / 3,
            'missed@45': 0,
            'missed@90': 0,
            'IoU@1': 100 * (1 / 4 + 1 / 2 + 1) / 3,
            'IoU@2': 100 * (1 / 2 + 1 + 1) / 3,
            'IoU@box': 100,
            'NoC@45_per_image': (2 + 1) / 2,
            'NoC@90_per_image': (4 + 1.5) / 2,
            'missed@45_per_image': 0,
            'missed@90_per_image': 0,
            'IoU@1_per_image': 100 * (1 / 4 + 3 / 4) / 2,
            'IoU@2_per_image': 100 * (1 / 2 + 1) / 2,
            'IoU@box_per_image': 100,
        },
        abs=1,
    )
    counts = {name: round(value, 6) for name, value in found.items() if 'NoC' in name}
    assert counts == {
        'NoC@45': 1.333333,
        'NoC@90': 2.333333,
        'NoC@45_per_image': 1.5,
        'NoC@90_per_image': 2.75,
    }


def test_an_object_that_is_never_good_counts_all_clicks():
    metric = ClickMetric(thresholds=(90,), clicks=3, iou_at=())
    label = bar(64)
    metric.bind(Model(torch.from_numpy(label == 1)[None]))
    metric.process(*batch_of([label]))
    found = metric.evaluate(1)
    assert found['NoC@90'] == 3 and found['missed@90'] == 100


def test_clicks_and_answers_go_back_to_the_head():
    metric = ClickMetric(thresholds=(90,), clicks=3, iou_at=(1,))
    label = bar(64)
    model = Model(torch.from_numpy(label == 1)[None])
    metric.bind(model)
    metric.process(*batch_of([label]))
    (box, _), (first, several), (second, no_more), (third, _) = model.decode_head.asked
    assert box.boxes[0].tolist() == [0, 8, 63, 15] and box.points.shape[1] == 0
    assert several and not no_more and first.masks is None
    assert second.masks.shape == (1, 1, 16, 16) and (second.masks.max(), second.masks.min()) == (
        10,
        -10,
    ), 'of the three masks the one that is held to be the best'
    assert third.points.shape == (1, 3, 2) and third.labels.tolist() == [[1, 1, 1]]
    assert second.points[0, 1, 0] > 16, 'in what is still missing'
    assert torch.equal(third.points[:, :2], second.points)


def test_places_are_those_of_the_networks_input():
    """A mask of half the network's size: pixel 0 of it is in the middle of pixels 0 and 1."""
    label = bar(64)
    metric = ClickMetric(thresholds=(90,), clicks=4, iou_at=(1,))
    model = Model(torch.from_numpy(label == 1)[None])
    metric.bind(model)
    batch, _ = batch_of([label])
    small = SegDataSample(gt_sem_seg=PixelData(data=torch.from_numpy(label[::2, ::2])[None]))
    metric.process(batch, [small.to_dict()])
    asked = [prompts for prompts, _ in model.decode_head.asked]
    assert asked[0].boxes[0].tolist() == [0.5, 8.5, 62.5, 14.5]
    assert ((asked[1].points - 0.5) % 2 == 0).all()
    assert metric.evaluate(1)['NoC@90'] == 4


def test_objects_of_a_map_that_touch():
    label = bar(16, top=16, label=bar(16))
    instances = np.where(label, 1 + (np.arange(SIDE)[:, None] >= 16), 0)
    metric = ClickMetric(thresholds=(90,), clicks=2, iou_at=(1,))
    metric.bind(Model(torch.from_numpy(label == 1)[None]))
    batch, (sample,) = batch_of([label])
    sample['gt_instances'] = dict(data=torch.from_numpy(instances)[None])
    metric.process(batch, [sample])
    assert len(metric.results[0]) == 2
    assert metric.evaluate(1)['IoU@box'] > 98


def test_curves_stop_where_nothing_is_wrong_any_more():
    calls = []

    def answer(clicks, logits, size):
        calls.append(clicks.shape)
        return targets[: len(clicks)], torch.zeros(len(clicks), 1)

    targets = np.ones((2, 4, 4), bool)
    curves = click_curves(answer, targets, np.ones((4, 4), bool), 5, 2.0, 5)
    assert calls == [(2, 1, 3)] and (curves == 1).all()


def test_what_cannot_be_clicked_at():
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        evaluator = Evaluator([dict(type='ClickMetric')])
    label = bar(64)
    with pytest.raises(ValueError, match='MetricModelHook'):
        evaluator.process(*reversed(batch_of([label])))
    metric, model = ClickMetric(), Model(torch.zeros(1, SIDE, SIDE))
    with pytest.raises(ValueError, match='leave --tta out'):
        metric.bind(Views())
    with pytest.raises(ValueError, match='this Identity does not'):
        metric.bind(nn.Identity())
    model.test_cfg = dict(mode='slide')
    with pytest.raises(ValueError, match="mode='whole'"):
        metric.bind(model)
    with pytest.raises(ValueError, match='None of 1 images has an object'):
        scores([np.zeros((SIDE, SIDE), np.uint8)])
    for wrong in (dict(thresholds=(0.85,), clicks=0), dict(iou_at=(30,)), dict(thresholds=())):
        with pytest.raises(ValueError, match='ClickMetric has'):
            ClickMetric(**wrong)


def test_the_hook_reaches_metrics_of_several_sets():
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        several = PerSetMetric([dict(type='ClickMetric'), dict(type='BinaryMetric')])

    class Loop:
        class evaluator:
            metrics = [several]

    class Runner:
        _val_loop, _test_loop = dict(type='ValLoop'), Loop
        model = Model(torch.zeros(1, SIDE, SIDE))

    MetricModelHook().before_run(Runner)
    assert several.metrics[0].model is Runner.model


def one_of_two(rank: int, folder: Path) -> None:
    os.chdir(folder)  # where MMEngine exchanges results
    torch.distributed.init_process_group('gloo', f'file://{folder}/it', rank=rank, world_size=2)
    found = shared(([0, 2], [1, 0])[rank])  # as DefaultSampler deals three: one comes twice
    (folder / f'{rank}.json').write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def shared(numbers: list[int]) -> dict[str, float]:
    labels = [bar(64), np.zeros((SIDE, SIDE), np.uint8), bar(16, top=40, label=bar(32))]
    metric = ClickMetric(thresholds=(90,), clicks=4, iou_at=(1,))
    metric.bind(Model(torch.stack([torch.from_numpy(label == 1) for label in labels])))
    batch, samples = batch_of(labels)
    for i in numbers:
        part = {name: values[i : i + 1] for name, values in batch.items()}
        metric.process(part, samples[i : i + 1])
    return metric.evaluate(3)


def test_two_processes_with_an_image_without_objects(tmp_path):
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=one_of_two, args=(rank, tmp_path)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0, 0]
    for rank in (0, 1):
        found = json.loads((tmp_path / f'{rank}.json').read_text())
        assert found == pytest.approx(shared([0, 1, 2]))
