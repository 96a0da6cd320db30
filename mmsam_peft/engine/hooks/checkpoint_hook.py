"""Checkpoints from which training goes on exactly where it was, whatever ended it."""

from pathlib import Path

from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from ...registry import HOOKS
from ...whole_files import remove_unfinished, whole_file
from ..checkpoints import INTERRUPTED, names_only, resolve_names
from ..random_state import random_state, set_random_state
from ..resuming import find_checkpoint, tidy, training_record, validation_is_due
from ..run_settings import run_settings
from ..schedules import check_schedule, first_values, follow_schedule


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's ``CheckpointHook`` (its arguments hold), which also

    - resumes from the newest checkpoint that is whole, and says which were left aside;
    - keeps the old file until the new one is on the disk, and only names, no paths, in checkpoints;
    - stores the random generators' states, and validates what was saved but not validated;
    - refuses to resume with other settings, and follows another schedule from where training is.

    Raises:
        FileNotFoundError: There is nothing to resume from.
        ValueError: The checkpoint has no training state, or belongs to another training.
    """

    resumed = None
    """What the checkpoint says of the training that goes on; None: it begins."""
    validated = -1
    """The iteration after which training was validated last."""
    training_random = None
    """While validation runs: the random state that training goes on with."""
    to_validate = False
    saved = None
    """The epochs and iterations of the last checkpoint to go on from."""
    record = None
    """What the checkpoint that is being saved says of the training."""

    # Resuming

    def before_run(self, runner: Runner) -> None:
        self.folder = Path(runner.work_dir)
        if '://' in str(self.out_dir):
            raise ValueError(
                f'out_dir={self.out_dir} of CheckpointHook: expected a folder of this machine. '
                'Copy the checkpoints when training has ended.'
            )
        if self.out_dir not in (None, runner.work_dir):
            self.folder = Path(self.out_dir) / self.folder.name  # as MMEngine does
        if (
            runner._resume
            and isinstance(runner._train_loop, BaseLoop)
            and runner._load_from is None
        ):
            found = [None]
            if is_main_process():
                found = [find_checkpoint(runner, self.folder, self.filename_tmpl)]
            broadcast_object_list(found)
            runner._load_from, runner._resume = found[0], found[0] is not None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not (runner._resume and isinstance(runner._train_loop, BaseLoop)):
            return
        asked = run_settings(runner)
        self.resumed = training_record(runner, checkpoint)
        if self._another_schedule(asked):
            check_schedule(self.resumed['settings']['schedule'], asked['schedule'])
            checkpoint.pop('param_schedulers', None)  # before_train follows the new ones
            self.first_values = first_values(runner)
        info = checkpoint['message_hub'].setdefault('runtime_info', {})
        for what in resolve_names(info, self.folder):
            runner.logger.warning(f'Of {runner._load_from}, {what}: it is not used.')

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if is_main_process():
            remove_unfinished(self.folder)
        if self.resumed is None:
            return
        asked = run_settings(runner)
        if self._another_schedule(asked):
            follow_schedule(runner, self.first_values)
            rates = sorted({group['lr'] for group in runner.optim_wrapper.param_groups})
            length = ' '.join(map(str, asked['schedule']['length']))
            runner.logger.info(
                f'The schedule is another than before, {length}: the learning rate follows it from '
                f'iteration {runner.iter} on, which makes it '
                f'{", ".join(f"{rate:.3g}" for rate in rates)} now.'
            )
        last = runner.message_hub.get_info('last_ckpt')
        if last and Path(last).name != INTERRUPTED:
            self.last_ckpt = last
        self.validated = self.resumed.get('validated', -1)
        self.to_validate = validation_is_due(runner, self.validated)
        self._restore(runner)
        if is_main_process():
            tidy(runner, self.folder, self.filename_tmpl)

    def _another_schedule(self, asked: dict) -> bool:
        if not self.resumed:
            return False
        schedules = self.resumed['settings']['schedule'], asked['schedule']
        return schedules[0] != schedules[1] and any(one['param_scheduler'] for one in schedules)

    def _restore(self, runner: Runner) -> None:
        if not self.resumed:
            return
        states = self.resumed['random']
        if get_rank() < len(states):
            set_random_state(states[get_rank()])
        for sampler in _samplers(runner):
            sampler.seed = self.resumed['sampler_seed']  # a random one where the config sets none
        parameters = dict(runner.model.named_parameters())
        for name, gradient in self.resumed['gradients'].items():
            parameters[name].grad = gradient.to(parameters[name].device)

    def before_train_epoch(self, runner: Runner) -> None:
        self.make_up_validation(runner)

    def after_train(self, runner: Runner) -> None:
        self.make_up_validation(runner)
        super().after_train(runner)

    def make_up_validation(self, runner: Runner) -> None:
        if self.to_validate:
            self.to_validate = False
            runner.logger.info(
                f'Iteration {runner.iter} was saved but not validated: that is made up for.'
            )
            runner.val_loop.run()

    # Validation draws no random number of training's

    def before_val(self, runner: Runner) -> None:
        self.training_random = random_state()

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        set_random_state(self.training_random)
        self.training_random = None
        if isinstance(runner._train_loop, BaseLoop):
            self.validated = runner.iter
            super().after_val_epoch(runner, metrics)

    # Saving

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        hub = checkpoint['message_hub']
        hub['runtime_info'] = names_only(hub['runtime_info'], self.folder)
        if 'optimizer' in checkpoint and self.record:
            checkpoint['training'] = self.record

    def save_before_stopping(self, runner: Runner, meta: dict) -> None:
        """Called by ``StopHook`` with the epochs and iterations done."""
        if self.saved != meta:
            self._save(runner, INTERRUPTED, meta, by_epoch=False, save_optimizer=True)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self.keep_ckpt_ids[0])
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', [*outdated, *self.keep_ckpt_ids])
        self._save(
            runner,
            self.filename_tmpl.format(step),
            meta,
            by_epoch=self.by_epoch,
            save_optimizer=self.save_optimizer,
        )
        if is_main_process():
            for name in [*(self.filename_tmpl.format(step) for step in outdated), INTERRUPTED]:
                (self.folder / name).unlink(missing_ok=True)

    def _save(
        self, runner: Runner, name: str, meta: dict, by_epoch: bool, save_optimizer: bool
    ) -> None:
        self.last_ckpt = str(self.folder / name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        states = all_gather_object(self.training_random or random_state())
        self.record = dict(
            settings=run_settings(runner),
            random=states,
            validated=self.validated,
            sampler_seed=next((one.seed for one in _samplers(runner)), None),
            gradients=_gradients(runner),
        )
        runner.save_checkpoint(
            str(self.folder),
            name,
            self.file_client_args,
            save_optimizer=save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=dict(meta),
            by_epoch=by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self.record, self.saved = None, meta
        if is_main_process():
            with whole_file(Path(runner.work_dir) / 'last_checkpoint') as unfinished:
                unfinished.write_text(name)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """As MMEngine's, but the best before is removed last."""
        best = [key for key in runner.message_hub.runtime_info if key.startswith('best_ckpt')]
        before = {key: Path(runner.message_hub.get_info(key)) for key in best}
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = None
        elif self.save_best:
            self.best_ckpt_path_dict = dict.fromkeys(self.key_indicators)
        super()._save_best_checkpoint(runner, metrics)
        info = runner.message_hub.runtime_info
        if self.save_best and len(self.key_indicators) == 1:
            self.best_ckpt_path = info.get('best_ckpt')
        elif self.save_best:
            self.best_ckpt_path_dict = {
                key: info.get(f'best_ckpt_{key}') for key in self.key_indicators
            }
        for key, path in before.items():
            now = Path(runner.message_hub.get_info(key))
            if is_main_process() and path != now and path.parent == self.folder and path.is_file():
                path.unlink()
                runner.logger.info(
                    f'{path.name}, the best checkpoint before {now.name}, is removed',
                    extra=dict(screen=False),
                )


def _samplers(runner: Runner) -> list:
    """What shuffles the training data by a seed."""
    sampler = getattr(runner.train_dataloader.batch_sampler, 'sampler', None)
    return [one for one in (sampler, getattr(sampler, 'sampler', None)) if hasattr(one, 'seed')]


def pending_gradients(runner: Runner) -> bool:
    """Whether the optimizer's next step is shared by iterations of which some are still to come."""
    wrapper = runner.optim_wrapper
    return getattr(wrapper, '_inner_count', 0) % getattr(wrapper, '_accumulative_counts', 1) != 0


def _gradients(runner: Runner) -> dict:
    """The pending gradients; of several processes each has its own, which are not saved."""
    if not pending_gradients(runner) or is_model_wrapper(runner.model):
        return {}
    return {
        name: parameter.grad.cpu()
        for name, parameter in runner.model.named_parameters()
        if parameter.grad is not None
    }
