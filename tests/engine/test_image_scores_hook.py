import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample

from mmsam_peft.engine.hooks import ImageScoresHook
from mmsam_peft.registry import METRICS


def sample(path: str, label: list[int], predicted: list[int]) -> SegDataSample:
    planes = dict(gt_sem_seg=label, pred_sem_seg=predicted)
    data = {name: PixelData(data=torch.tensor([[plane]])) for name, plane in planes.items()}
    return SegDataSample(metainfo=dict(img_path=path), **data)


@pytest.fixture
def runner() -> SimpleNamespace:
    dataset = SimpleNamespace(metainfo=dict(classes=('a', 'b')))
    return SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))


def run(hook: ImageScoresHook, runner: SimpleNamespace, *samples: SegDataSample) -> dict:
    hook.before_test_epoch(runner)
    for one in samples:
        hook.after_test_iter(runner, 0, None, [one])
    hook.after_test_epoch(runner)
    return hook.scores


def test_each_image_by_itself(runner, capsys):
    """Dice and IoU by hand; in the order of the paths, without a table for each image."""
    metrics = [dict(type='BinaryMetric'), dict(type='IoUMetric', iou_metrics=['mIoU'])]
    samples = (
        sample('b.png', [1, 1, 0, 0], [1, 0, 0, 0]),
        sample('a.png', [1, 1, 0, 0], [1, 1, 1, 0]),
        sample('c.png', [255, 255, 255, 255], [1, 1, 1, 0]),
    )
    scores = run(ImageScoresHook(metrics), runner, *samples)
    assert list(scores) == ['a.png', 'b.png', 'c.png']
    assert scores['a.png']['Dice'] == pytest.approx(80) and 'Dice' not in scores['c.png']
    assert scores['b.png']['IoU'] == pytest.approx(50)
    assert scores['b.png']['mIoU'] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2, abs=0.01)
    assert 'mIoU' not in capsys.readouterr().out
    json.dumps(scores)


def test_a_metric_that_cannot_costs_no_test(runner):
    @METRICS.register_module(force=True)
    class Streaming(IoUMetric):
        def process(self, data_batch, data_samples):
            raise AttributeError('no list of results')

    hook = ImageScoresHook([dict(type='Streaming'), dict(type='BinaryMetric')])
    with pytest.warns(UserWarning, match='Streaming cannot score an image alone'):
        scores = run(hook, runner, sample('a.png', [1, 0], [1, 0]), sample('b.png', [1, 0], [1, 1]))
    assert scores['a.png']['Dice'] == pytest.approx(100)
