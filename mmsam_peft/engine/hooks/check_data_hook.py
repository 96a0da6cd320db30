"""Looks at the data before the first iteration."""

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from ...datasets.checks.dataset import check_dataset
from ...datasets.checks.labels import require_labels
from ...evaluation.training_checks import check_best, check_binary_metrics, check_metrics
from ...registry import HOOKS
from ..run_checks import (
    check_channels,
    check_ignored,
    check_length,
    check_losses,
    check_prompts,
)


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Checks every image and label of the training and validation sets before training, with one
    report of all faults; and every label of the test set before testing, of whose images only the
    beginning is read.

    For a multi-task model, the training set needs all tasks, the validation set those that its
    metric measures.

    Raises:
        DatasetError: See ``datasets/checks/``; also when classes or tasks of the model are not the
            data's.
        ValueError: See ``evaluation/training_checks.py`` and ``engine/run_checks.py``: settings of
            data, model and validation that do not fit together.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.summaries: dict[str, dict] = {}
        """What there is in each split that was looked through, in the main process."""

    def before_train(self, runner: Runner) -> None:
        if is_main_process():
            model, best = _model(runner), _best(runner)
            loaders, metrics = dict(train=runner.train_dataloader), []
            if runner._val_dataloader is not None:
                loaders['val'], metrics = runner.val_dataloader, runner.val_evaluator.metrics
            elif best:
                runner.logger.warning(
                    'There is no validation, so that no best checkpoint will be '
                    f'kept, whatever save_best={", ".join(best)} says.'
                )
                best = {}
            tasks = getattr(model, 'tasks', None)
            expected = dict(train=tasks, val=tasks and check_metrics(metrics, tasks, best))
            if not tasks:
                check_binary_metrics(metrics, model.num_classes)
                check_best(metrics, best)
                check_losses(model)
                check_prompts(model)
                check_channels(model)
                check_ignored(model, loaders, metrics)
            for split, loader in loaders.items():
                training = split == 'train'
                check_length(loader, split, training)
                self.summaries[split] = check_dataset(
                    loader.dataset,
                    num_classes=model.num_classes,
                    tasks=expected[split],
                    training=training,
                )
        barrier()

    def before_test(self, runner: Runner) -> None:
        require_labels(runner.test_dataloader.dataset)
        if is_main_process():
            model, loader = _model(runner), runner.test_dataloader
            require_labels(loader.dataset)
            metrics = runner.test_evaluator.metrics
            tasks = getattr(model, 'tasks', None)
            measured = tasks and check_metrics(metrics, tasks, {})
            if not tasks:
                check_binary_metrics(metrics, model.num_classes)
                check_ignored(model, dict(test=loader), metrics)
            check_length(loader, 'test', training=False)
            self.summaries['test'] = check_dataset(
                loader.dataset,
                num_classes=model.num_classes,
                decode_images=False,
                tasks=measured,
                training=False,
            )
        barrier()


def _model(runner: Runner) -> nn.Module:
    """The segmentor itself."""
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _best(runner: Runner) -> dict[str, str]:
    """Rules by the metrics that the best checkpoint is chosen by."""
    savers = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best]
    return {
        name: rule
        for hook in savers
        for name, rule in zip(hook.key_indicators, hook.rules, strict=True)
    }
