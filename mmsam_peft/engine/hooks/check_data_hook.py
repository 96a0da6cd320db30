"""Looks at the data before the first iteration."""
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ...datasets.checks import check_dataset
from ...registry import HOOKS


@HOOKS.register_module()
class CheckDataHook(Hook):
    """Checks every image and label of the training and validation sets before training, with one report of all faults.

    Raises:
        DatasetError: See ``datasets/checks.py``; also when classes or tasks of the model are not the data's.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        if is_main_process():
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            loaders = [runner.train_dataloader] + ([runner.val_dataloader] if runner._val_dataloader is not None else [])
            for loader in loaders:
                check_dataset(loader.dataset, num_classes=model.num_classes, tasks=getattr(model, 'tasks', None))
        barrier()
