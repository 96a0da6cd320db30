"""Pictures of several tasks during validation and testing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image
from torch import nn

from mmsam_peft.engine.hooks import PanelHook, panel_hook
from mmsam_peft.tasks import build_tasks

TASKS = build_tasks(
    [
        dict(
            type='SemanticSegmentation',
            name='seg',
            num_classes=2,
            palette=[(250, 0, 0), (0, 0, 250)],
        ),
        dict(type='Depth', name='depth'),
        dict(type='SurfaceNormals', name='normals'),
    ]
)


@pytest.fixture
def samples(tmp_path) -> list[SegDataSample]:
    """Ten; image i is green of brightness 20 i, as a file of 20 x 30. The last lacks depth."""
    made = []
    for i in range(10):
        Image.new('RGB', (30, 20), (0, 20 * i, 0)).save(tmp_path / f'{i}.png')
        sample = SegDataSample(metainfo=dict(img_path=str(tmp_path / f'{i}.png')))
        for kind in ('pred', 'gt'):
            fields = dict(
                seg=torch.full((1, 20, 30), int(kind == 'pred')),
                depth=torch.rand(1, 20, 30) + 1,
                normals=torch.tensor([0.0, 0, 1]).view(3, 1, 1).expand(3, 20, 30),
            )
            for name, data in fields.items():
                if (i, name, kind) != (9, 'depth', 'gt'):
                    sample.set_field(PixelData(data=data), f'{kind}_{name}')
        made.append(sample)
    return made


class Runner(SimpleNamespace):
    """What the hook asks of a runner; keeps the pictures."""

    def __init__(self, model: nn.Module, rank: int = 0) -> None:
        self.pictures = {}
        dataset = SimpleNamespace(pipeline=SimpleNamespace(transforms=[]))
        loop = SimpleNamespace(dataloader=SimpleNamespace(sampler=range(10), dataset=dataset))
        super().__init__(
            rank=rank, iter=7, model=model, visualizer=self, val_loop=loop, test_loop=loop
        )

    def add_image(self, name: str, picture: np.ndarray, step: int) -> None:
        assert (name, step) not in self.pictures
        self.pictures[name, step] = picture


def model() -> nn.Module:
    module = nn.Module()
    module.tasks = {task.name: task for task in TASKS}
    return module


def run(
    hook: PanelHook, samples: list[SegDataSample], mode: str = 'val', batch: int = 4, **settings
) -> dict:
    """An epoch with batches of four, of which the last has two."""
    runner = Runner(model(), **settings)
    getattr(hook, f'before_{mode}_epoch')(runner)
    for number, start in enumerate(range(0, len(samples), batch)):
        getattr(hook, f'after_{mode}_iter')(runner, number, None, samples[start : start + batch])
    return runner.pictures


@pytest.mark.parametrize('batch', [1, 3, 4])
def test_every_third_image_of_all(samples, batch, monkeypatch):
    """Whatever the batches, and again in the next epoch."""
    monkeypatch.setattr(panel_hook, 'task_sheet', lambda image, items, title: image)
    hook = PanelHook(interval=3)
    for _ in range(2):
        pictures = run(hook, samples, batch=batch)
        assert list(pictures) == [(f'val_{i}', 7) for i in (0, 3, 6, 9)]
        for (name, _), picture in pictures.items():
            assert (picture == (0, 20 * int(name[4:]), 0)).all()


def shows(picture: np.ndarray, colour: tuple[float, ...]) -> bool:
    """On a twentieth of it at least."""
    return (np.abs(picture.astype(int) - np.rint(colour)).max(-1) <= 2).mean() > 0.05


def test_a_picture_shows_all_tasks_and_their_labels(samples):
    picture = run(PanelHook(interval=5), samples, 'test')['test_5', 0]
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    for colour in (
        (0, 100, 0),
        (0, 40, 150),
        (150, 40, 0),
        (128, 128, 255),
    ):  # image, overlaid classes, normals
        assert shows(picture, colour)


def test_none_by_other_processes_or_when_switched_off(samples):
    assert run(PanelHook(interval=1), samples, rank=1) == {} == run(PanelHook(draw=False), samples)


def test_at_most_eight_of_a_large_validation_set_spread_over_it(samples, monkeypatch):
    monkeypatch.setattr(panel_hook, 'task_sheet', lambda image, items, title: image)
    monkeypatch.setattr(panel_hook, 'MOST', 3)
    assert list(run(PanelHook(interval=1), samples)) == [(f'val_{i}', 7) for i in (0, 4, 8)]
    assert len(run(PanelHook(interval=1), samples, 'test')) == 10


def test_bad_interval():
    with pytest.raises(ValueError, match='interval=0 of PanelHook: at least 1, or draw=False'):
        PanelHook(interval=0)
