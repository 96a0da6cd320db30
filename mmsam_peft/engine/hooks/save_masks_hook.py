"""Writes test predictions as files."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...datasets.checks.dataset import inner_datasets
from ...registry import HOOKS
from ...visualization.masks import write_mask
from ...visualization.names import output_names
from ...visualization.predictions import task_suffix, write_tasks
from ..unwrapping import unwrapped


@HOOKS.register_module()
class SaveMasksHook(Hook):
    """Writes each test prediction to ``out_dir/NAME.png``: class numbers, with the data set's
    palette. For a multi-task model, ``out_dir/TASK/NAME.png`` for tasks with classes and
    ``out_dir/TASK/NAME.npy`` (c, H, W) for the others.

    NAME is the image's path below the data set's image folder; where several sets are joined, below
    what their folders have in common. No two images share a name: a.jpg and a.png become a.jpg.png
    and a.png.png.
    """

    def __init__(self, out_dir: str) -> None:
        self.out_dir = Path(out_dir)

    def before_test_epoch(self, runner: Runner) -> None:
        self.dataset = runner.test_dataloader.dataset
        model = unwrapped(runner)
        self.tasks = getattr(model, 'tasks', None)
        self.names = names_of(self.dataset)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        for sample in outputs:
            name = self.names[_absolute(sample.img_path)]
            if self.tasks:
                write_tasks(
                    sample,
                    self.tasks.values(),
                    {
                        task.name: (self.out_dir / task.name / name).with_suffix(task_suffix(task))
                        for task in self.tasks.values()
                    },
                )
            else:
                write_mask(
                    sample.pred_sem_seg.data,
                    self.dataset.metainfo.get('palette'),
                    self.out_dir / name,
                )


def names_of(dataset: BaseDataset) -> dict[Path, Path]:
    """What the predictions of a set's images are called."""
    parts = list(inner_datasets(dataset))
    folders = {_absolute(part.data_prefix['img_path']) for part in parts}
    images = dict.fromkeys(
        _absolute(part.get_data_info(i)['img_path']) for part in parts for i in range(len(part))
    )
    return output_names(images, os.path.commonpath(folders))


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(path))
