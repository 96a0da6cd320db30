"""Writes test predictions as pictures."""
from collections.abc import Sequence
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS
from ...visualization.masks import write_mask


@HOOKS.register_module()
class SaveMasksHook(Hook):
    """Writes each test prediction to ``out_dir/NAME.png``: class numbers, with the data set's palette.

    NAME is the image's path below the data set's image folder.
    """

    def __init__(self, out_dir: str) -> None:
        self.out_dir = Path(out_dir)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                        outputs: Sequence | None = None) -> None:
        dataset = runner.test_dataloader.dataset
        for sample in outputs:
            name = Path(sample.img_path).relative_to(dataset.data_prefix['img_path']).with_suffix('.png')
            write_mask(sample.pred_sem_seg.data, dataset.metainfo.get('palette'), self.out_dir / name)
