"""Looks at the data before the first iteration."""
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ...datasets.checks.dataset import check_dataset
from ...datasets.checks.labels import require_labels
from ...evaluation.training_checks import check_metrics
from ...registry import HOOKS


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Checks every image and label of the training and validation sets before training, with one report of all faults; before
    a test, that there are labels.

    Of a multi-task model, the training set needs all tasks, the validation set those that its metric measures.

    Raises:
        DatasetError: See ``datasets/checks/``; also when classes or tasks of the model are not the data's.
        ValueError: See ``evaluation/training_checks.py``: tasks of the metric are not the model's, or the best checkpoint is
            chosen by a metric that is not there.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        if is_main_process():
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            tasks = getattr(model, 'tasks', None)
            loaders = [(runner.train_dataloader, tasks)]
            if runner._val_dataloader is not None:
                measured = tasks and check_metrics(runner.val_evaluator.metrics, tasks, _best(runner))
                loaders.append((runner.val_dataloader, measured))
            for loader, expected in loaders:
                check_dataset(loader.dataset, num_classes=model.num_classes, tasks=expected)
        barrier()

    def before_test(self, runner: Runner) -> None:
        require_labels(runner.test_dataloader.dataset)


def _best(runner: Runner) -> dict[str, str]:
    """Rules by the metrics that the best checkpoint is chosen by."""
    return {name: rule for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best
            for name, rule in zip(hook.key_indicators, hook.rules, strict=True)}
