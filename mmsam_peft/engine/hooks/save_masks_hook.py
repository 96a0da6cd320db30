"""Writes test predictions as pictures."""
from collections.abc import Sequence
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...apis.inference import write_mask
from ...registry import HOOKS


@HOOKS.register_module()
class SaveMasksHook(Hook):
    """Writes each test prediction to ``out_dir/NAME.png``: class numbers, with the data set's palette."""

    def __init__(self, out_dir: str) -> None:
        self.out_dir = Path(out_dir)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                        outputs: Sequence | None = None) -> None:
        palette = runner.test_dataloader.dataset.metainfo.get('palette')
        for sample in outputs:
            write_mask(sample.pred_sem_seg.data, palette, self.out_dir / f'{Path(sample.img_path).stem}.png')
