"""Nothing that is NaN or infinite is trained with, saved, or scored."""

import math
from collections.abc import Iterable, Sequence

from mmengine.dist import all_gather_object
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmseg.structures import SegDataSample
from torch import Tensor

from ...finite import NAMED, NotFiniteError, not_finite, require_finite
from ...models.segmentors import PEFTSegmentor
from ...models.segmentors.finite_outputs import require_finite_samples
from ...registry import HOOKS
from ..step_guard import StepGuard
from ..unwrapping import unwrapped

PATIENCE = 5
"""After so many steps in a row that were left out, training stops."""
IMAGES_NAMED = 16
SAVED = ('state_dict', 'ema_state_dict', 'optimizer')
"""The parts of a checkpoint that have to be finite; the log of the losses need not be."""
ADVICE = (
    'Nothing was written and nothing removed: checkpoints that were saved before are good. '
    'Go on from the last with a lower learning rate (optim_wrapper.optimizer.lr).'
)
Batch = tuple[list[str], dict[str, float]]
"""Its images, and its losses by name."""


@HOOKS.register_module()
class FiniteHook(Hook):
    """Leaves out training steps whose loss or gradient is NaN or infinite, with a warning that
    names the losses and the images; stops after ``PATIENCE`` in a row. See ``StepGuard``.

    Model and optimizer have to be finite before a checkpoint is written or an older one removed,
    and predictions before they are scored in validation and test. Metrics see no NaN: a comparison
    with it is false, so that a broken model finds nothing, and is right where nothing is to find.

    Raises:
        NotFiniteError: As above. No file was changed.
    """

    left_out = 0
    """Steps of this run that were left out."""

    priority = 'LOW'  # CheckpointHook, which removes old files before it writes, comes after it

    def before_train(self, runner: Runner) -> None:
        self.guard = StepGuard(runner.optim_wrapper, runner.model)
        self.batches, self.in_a_row = [], 0

    def after_train(self, runner: Runner) -> None:
        self.guard.remove()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self.guard.before_iteration()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        losses = {name: value.detach() for name, value in outputs.items() if 'loss' in name}
        self.batches.append((image_names(data_batch), losses))
        if self.guard.stepped:
            if self.guard.left_out:
                self._tell(runner)
            else:
                self.in_a_row = 0
            self.batches.clear()
        last = self.is_last_train_iter(runner)
        if any(
            not hook.by_epoch and (last or self.every_n_train_iters(runner, hook.interval))
            for hook in checkpoint_hooks(runner)
        ):
            self._check_state(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        self._check_state(runner, runner.iter)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence[SegDataSample] = ()
    ) -> None:
        self._check_predictions(runner, outputs)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: Sequence[SegDataSample] = ()
    ) -> None:
        self._check_predictions(runner, outputs)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        chosen_by = {
            name
            for hook in checkpoint_hooks(runner)
            if hook.save_best
            for name in hook.key_indicators
        }
        for name in sorted(chosen_by):
            if math.isnan((metrics or {}).get(name, 0)):
                runner.logger.warning(
                    f'{name}, by which the best checkpoint is chosen, is NaN after iteration '
                    f'{runner.iter}, which cannot be the best, then. It may not be defined on the '
                    'validation set, as without foreground.'
                )
        if hasattr(self, 'guard'):  # in training
            self._check_state(runner, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Looks at what is written, whoever asks for it, whatever other hooks made of the model."""
        written = {key: checkpoint[key] for key in SAVED if key in checkpoint}
        require_finite(written, 'The checkpoint that was to be saved', ADVICE)

    def _check_predictions(self, runner: Runner, samples: Sequence[SegDataSample]) -> None:
        if not isinstance(unwrapped(runner), PEFTSegmentor):  # which looks itself
            require_finite_samples(samples)

    def _check_state(self, runner: Runner, iteration: int) -> None:
        """Looks at all processes' together: statistics of batches are each one's own."""
        model, optimizer = unwrapped(runner), runner.optim_wrapper.optimizer
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        moments = {
            f'{name}.{key}': value
            for name, parameter in trained.items()
            for key, value in optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }
        found = all_gather_object(not_finite({**trained, **dict(model.named_buffers()), **moments}))
        names = list(dict.fromkeys(name for of_process in found for name in of_process))
        if names:
            more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
            raise NotFiniteError(
                f'After iteration {iteration}, numbers of the model or the optimizer are NaN or '
                f'infinite: {", ".join(names[:NAMED])}{more}. {ADVICE}'
            )

    def _tell(self, runner: Runner) -> None:
        """Warns of the step that was left out, with what all processes know of it.

        Raises:
            NotFiniteError: In all of them, after ``PATIENCE`` steps in a row.
        """
        mine = [
            (images, {name: value.item() for name, value in losses.items()})
            for images, losses in self.batches
        ]
        batches = [batch for of_process in all_gather_object(mine) for batch in of_process]
        broken = [batch for batch in batches if not all(map(math.isfinite, batch[1].values()))]
        if not broken and self.guard.lowers_scale:
            return  # an overflow of float16, which the loss scaler has seen to
        self.in_a_row += 1
        self.left_out += 1
        what = describe(broken or batches, self.guard.norm)
        runner.logger.warning(
            f'Iteration {runner.iter + 1}: the loss or the gradient is NaN or infinite; this step '
            f'was left out, {self.in_a_row} in a row. {what} Weights and optimizer are as before.'
        )
        if self.in_a_row == PATIENCE:
            raise NotFiniteError(
                f'Training stops at iteration {runner.iter + 1}: in {PATIENCE} steps in a row, the '
                f'loss or the gradient was NaN or infinite. {what} Checkpoints that were saved '
                'before are good. Lower the learning rate (optim_wrapper.optimizer.lr), clip the '
                'gradient (optim_wrapper.clip_grad), or look at the images and their labels; in '
                'place of float16 use bfloat16 (--amp bf16) or float32.'
            )


def describe(batches: Sequence[Batch], norm: float) -> str:
    losses = '; '.join(
        ', '.join(f'{name} = {value:.4g}' for name, value in losses.items())
        for _, losses in batches
    )
    images = [image for of_batch, _ in batches for image in of_batch]
    more = f' and {len(images) - IMAGES_NAMED} more' if len(images) > IMAGES_NAMED else ''
    return (
        f'Losses: {losses}. Norm of the gradient: {norm:.4g}. '
        f'Images: {", ".join(images[:IMAGES_NAMED])}{more}.'
    )


def image_names(batch) -> list[str]:
    """The images of a batch as the loader gives it."""
    samples = batch.get('data_samples', ()) if isinstance(batch, dict) else ()
    return [sample.metainfo.get('img_path', 'an image without a path') for sample in samples]


def checkpoint_hooks(runner: Runner) -> Iterable[CheckpointHook]:
    return (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
