"""Tells fine-tuning methods how far the training is."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...models.segmentors import PEFTSegmentor
from ...registry import HOOKS
from ..unwrapping import unwrapped


@HOOKS.register_module()
class ProgressHook(Hook):
    """Before every training iteration, ``method.at(iteration / iterations, host)`` for every method
    in the model: a schedule of its own goes on where a resumed training does."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        model = unwrapped(runner)
        if isinstance(model, PEFTSegmentor):
            for host, method in model.adapted.values():
                method.at(runner.iter / runner.max_iters, host)
