"""Which samples an epoch draws, in which order, and what their random transforms do."""

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import DistSamplerSeedHook as ShuffleHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import BatchSampler

from ...registry import HOOKS
from ..seeded_loading import keep_workers, number_samples


@HOOKS.register_module()
class DistSamplerSeedHook(ShuffleHook):
    """MMEngine's default hook, which shuffles each epoch by seed and epoch, and beyond it: random
    transforms are seeded by seed and sample (see ``engine/seeded_loading.py``), and a training that
    was interrupted in the middle of an epoch goes on with the next batch of the same order.
    """

    sampler = None

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        if self.sampler is None:
            self.sampler = number_samples(loader, runner.seed, get_rank(), get_world_size())
            loader.generator = (
                torch.Generator()
            )  # of each epoch's workers; else they would draw from training's
            keep_workers(loader)
            if runner.val_loop is not None:
                keep_workers(runner.val_dataloader)
        if self.sampler is None:
            runner.logger.warning(
                'The batches of this data loader do not come from a sampler of indices: their '
                'random transforms depend on what was loaded before, so that resuming is not exact.'
            )
        self.by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if self.sampler and not self.by_epoch and hasattr(self.sampler.sampler, 'skip'):
            # MMEngine moves an InfiniteSampler on by as much
            self.sampler.start = runner.iter * loader.batch_sampler.batch_size

    def before_train_epoch(self, runner: Runner) -> None:
        super().before_train_epoch(runner)
        if self.sampler and self.by_epoch:
            loader = runner.train_dataloader
            done = runner.iter - runner.epoch * len(loader)
            if done and type(loader.batch_sampler) is not BatchSampler:
                runner.logger.warning(
                    f'{type(loader.batch_sampler).__name__} cannot go on in the middle of an '
                    f'epoch: epoch {runner.epoch + 1} begins anew.'
                )
                done = 0
            self.sampler.epoch = runner.epoch
            self.sampler.skip = done * loader.batch_sampler.batch_size if done else 0
