"""Pictures of a multi-task model's predictions beside their labels."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from ...datasets.pictures import picture_of
from ...registry import HOOKS
from ...visualization.panel import panel, panel_items
from ..unwrapping import unwrapped


@HOOKS.register_module()
class PanelHook(Hook):
    """Gives the visualizer a panel of every ``interval``-th image that is validated or tested, by
    one process: in the work directory's ``vis_data/vis_image/`` and wherever else its backends
    write.

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

    def before_test_epoch(self, runner: Runner) -> None:
        self.seen = 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        self._draw(runner, 'val', outputs, runner.iter)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        self._draw(runner, 'test', outputs, 0)

    def _draw(self, runner: Runner, mode: str, samples: Sequence[SegDataSample], step: int) -> None:
        if not self.draw or runner.rank:
            return
        tasks = (unwrapped(runner)).tasks.values()
        dataset = getattr(runner, f'{mode}_dataloader').dataset
        for i, sample in enumerate(samples, start=self.seen):
            if i % self.interval == 0:
                image = picture_of(dataset, sample.img_path)
                runner.visualizer.add_image(
                    f'{mode}_{i}', panel(image, panel_items(tasks, sample)), step
                )
        self.seen += len(samples)
