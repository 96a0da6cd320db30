"""Writes adapter files beside MMEngine's checkpoints."""

import json
from pathlib import Path

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...adapters.apart import APART, without_base
from ...adapters.file import sealed, write_adapter
from ...adapters.header import ADAPTER
from ...adapters.match import adapter_header, adapter_state
from ...adapters.positions import TABLES
from ...models.segmentors import PEFTSegmentor
from ...peft import count_parameters
from ...registry import HOOKS
from ..provenance import about_training, header_with_scores, note_scores
from ..renewal import renew_adapters
from ..unwrapping import unwrapped

LAST = 'adapter_last.safetensors'


@HOOKS.register_module()
class AdapterHook(Hook):
    """Whenever MMEngine's ``CheckpointHook`` has saved the last or a best checkpoint, saves
    ``adapter_last.safetensors`` or ``adapter_best.safetensors`` in the work directory; with several
    ``save_best`` metrics, ``adapter_best_METRIC.safetensors``. Checkpoints get the adapter's
    header, as ``meta['mmsam_peft_adapter']``, and leave out the frozen weights that the base file
    has. Does nothing for models other than ``PEFTSegmentor``.

    The adapter holds what the checkpoint holds, which is what was scored: of a model averaged by
    ``EMAHook`` the averages.
    """

    priority = 'LOWEST'  # after CheckpointHook, and after EMAHook has put in the averages
    model = None

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner)
        self.model = model if isinstance(model, PEFTSegmentor) else None
        if self.model:
            metainfo = runner.train_dataloader.dataset.metainfo
            about = about_training(runner)
            self.header = adapter_header(self.model, metainfo, runner.cfg, **about)
            loaded = self.model.checkpoint is not None and self.model.base_loaded
            self.base_file = str(self.model.checkpoint) if loaded else None
            trained, everything = count_parameters(self.model)
            runner.logger.info(
                f'Training {trained:,} of {everything:,} parameters ({trained / everything:.2%}) '
                f'with {self.model.peft_cfg["type"]}'
            )
        self.seen = dict(runner.message_hub.runtime_info)
        if self.model and runner.iter and is_main_process():
            renew_adapters(self.model, self.header, runner, _files(self.seen))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self.model:
            # No parameter changes before the adapter is written, within the call that saved this.
            self.state = adapter_state(self.model, checkpoint['state_dict'])
            # MMEngine notes a best checkpoint in the hub before it is saved.
            info = runner.message_hub.runtime_info
            new = [key for key in _files(info) if info[key] != self.seen.get(key)]
            best = [key for key in new if key != 'last_ckpt']
            note_scores(runner, checkpoint, best)
            key = best[0] if best else 'last_ckpt'
            header = header_with_scores(self.header, runner, key)
            checkpoint['meta'][ADAPTER] = json.dumps(sealed(header, self.state))
            # averages of EMAHook need every name
            if self.base_file and 'ema_state_dict' not in checkpoint:
                checkpoint['meta'][APART] = self.base_file
                state = without_base(self.model, checkpoint['state_dict'], TABLES)
                checkpoint['state_dict'] = state

    def after_train_epoch(self, runner: Runner) -> None:
        self._save(runner, 'last_ckpt', LAST)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        self._save(runner, 'last_ckpt', LAST)

    def after_val_epoch(self, runner: Runner, metrics=None) -> None:
        for key, name in _files(runner.message_hub.runtime_info).items():
            if key != 'last_ckpt':
                self._save(runner, key, name)

    def save_before_stopping(self, runner: Runner, meta: dict) -> None:
        """Called by ``StopHook``."""
        self._save(runner, 'last_ckpt', LAST)

    @master_only
    def _save(self, runner: Runner, key: str, name: str) -> None:
        checkpoint = runner.message_hub.get_info(key)
        if self.model and checkpoint and checkpoint != self.seen.get(key):
            self.seen[key] = checkpoint
            path = Path(runner.work_dir) / name
            write_adapter(self.state, header_with_scores(self.header, runner, key), path)
            size = path.stat().st_size / 2**20
            runner.logger.info(f'Saved {path} ({size:.2f} MiB)', extra=dict(screen=False))


def _files(info: dict) -> dict[str, str]:
    """The adapter files by the keys of their checkpoints in a message hub's ``runtime_info``."""
    best = {
        key: f'{key.replace("best_ckpt", "adapter_best").replace("/", "_")}.safetensors'
        for key in info
        if key.startswith('best_ckpt')
    }
    return best | ({'last_ckpt': LAST} if 'last_ckpt' in info else {})
