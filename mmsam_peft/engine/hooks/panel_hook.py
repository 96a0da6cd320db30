"""Pictures of predictions beside their truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmseg.structures import SegDataSample

from ...datasets.checks.dataset import inner_datasets
from ...datasets.pictures import picture_of
from ...evaluation.examples import small
from ...evaluation.tallies import tallies_of
from ...registry import HOOKS
from ...visualization.classes import look_of
from ...visualization.comparison import task_sheet, triptych
from ...visualization.panel import panel_items
from ..best import main_score
from ..unwrapping import unwrapped

MOST = 8
"""Pictures of a validation."""


@HOOKS.register_module()
class PanelHook(Hook):
    """Gives the visualizer a picture of every ``interval``-th image that is validated or tested, by
    one process: in the work directory's ``vis_data/vis_image/`` and wherever else its backends
    write.

    It shows image, truth and prediction, or a panel of all tasks. Of a large validation set there
    are ``MOST`` at most, spread over it: the same images each time, whose drawing takes a small
    part of the validation's time.

    Args:
        draw: Whether pictures are made; ``tools/test.py --show-dir`` sets it.
        interval: In images.
    """

    def __init__(self, draw: bool = True, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(
                f'interval={interval} of PanelHook: at least 1, or draw=False for no picture.'
            )
        self.draw, self.interval = draw, interval

    def before_val_epoch(self, runner: Runner) -> None:
        self.seen = 0
        images = len(runner.val_loop.dataloader.sampler)
        self.stride = max(self.interval, -(-images // MOST))

    def before_test_epoch(self, runner: Runner) -> None:
        self.seen, self.stride = 0, self.interval

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        self._draw(runner, runner.val_loop, 'val', outputs, runner.iter)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        self._draw(runner, runner.test_loop, 'test', outputs, 0)

    def _draw(
        self,
        runner: Runner,
        loop: BaseLoop,
        mode: str,
        samples: Sequence[SegDataSample],
        step: int,
    ) -> None:
        if not self.draw or runner.rank:
            return
        for i, sample in enumerate(samples):
            number = self.seen + i
            if number % self.stride == 0:
                picture = self._picture(runner, loop, sample, len(samples) - i)
                runner.visualizer.add_image(f'{mode}_{number}', picture, step)
        self.seen += len(samples)

    def _picture(
        self, runner: Runner, loop: BaseLoop, sample: SegDataSample, from_end: int
    ) -> np.ndarray:
        dataset, model = loop.dataloader.dataset, unwrapped(runner)
        image = picture_of(dataset, sample.img_path)
        model = model.module if isinstance(model, BaseTTAModel) else model
        if tasks := getattr(model, 'tasks', None):
            return task_sheet(
                image, panel_items(tasks.values(), sample), Path(sample.img_path).name
            )
        ignore = min(getattr(part, 'ignore_index', 255) for part in inner_datasets(dataset))
        meta = dataset.metainfo
        look = look_of(meta.get('classes'), meta.get('palette'), ignore, model.num_classes)
        prediction, truth = (
            small(sample.get(name).data.byte())[0] for name in ('pred_sem_seg', 'gt_sem_seg')
        )
        title = Path(sample.img_path).name + _score(runner, loop, from_end)
        return triptych(image, prediction, truth, look, title)


def _score(runner: Runner, loop: BaseLoop, from_end: int) -> str:
    """The image's, as the metrics have just found it: ``from_end`` results ago."""
    main = main_score(runner)
    found = {}
    for metric in loop.evaluator.metrics:
        for tally in tallies_of(metric) if len(metric.results) >= from_end else ():
            numbers = tally.numbers(metric.results[-from_end])
            found |= {} if numbers is None else tally.scores(numbers, 1)
    if not found:
        return ''
    name = main if main in found else next(iter(found))
    return (
        f'   {name} {found[name]:.1f}' if abs(found[name]) >= 1 else f'   {name} {found[name]:.3f}'
    )
