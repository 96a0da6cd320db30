"""Training without the cost of the frozen part of the encoder."""

import hashlib
import json
from pathlib import Path

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.datasets.transforms import PackSegInputs

from ...datasets.checks.dataset import inner_datasets
from ...datasets.feature_cache import CachedPipeline, FeatureStore
from ...datasets.item_store import bytes_in
from ...hashing import hash_tensors
from ...models.backbones.frozen_prefix import FrozenPrefix
from ...models.encoding_preprocessor import EncodingPreprocessor
from ...models.segmentors import PEFTSegmentor
from ...registry import HOOKS
from ...version import __version__
from ...whole_files import write_whole
from ..unwrapping import unwrapped

FORMAT = 3
"""Of the maps and of how images become them: until 2, images were resized without
antialiasing."""


@HOOKS.register_module()
class FeatureCacheHook(Hook):
    """Computes the frozen beginning of the encoder once for each view of a training image, and
    stores it: 16-bit maps with their labels. With peft type Frozen that is all of the encoder, with
    ``LoRA(blocks='last:4')`` all blocks but four.

        default_hooks = dict(feature_cache=dict(type='FeatureCacheHook', views=2))

    A view is one outcome of the training pipeline's random transforms, the same in all epochs and
    runs. The epochs take the views in turn, so that the first ``views`` epochs compute and store,
    and the later ones read. Validation is as without.

    The maps lie in a folder of their own for everything they depend on: the frozen weights, the
    arch, the data set and its pipeline, the preprocessor, mixed precision. Whatever changes of it
    leads to another folder; an image file that changes gets new maps. A file that is damaged, or
    belongs elsewhere, is made again. Old folders are never removed. The folder is trusted as any
    local cache is: share it with those only who may change what you train.

    Args:
        views: How many there are of each image.
        folder: Where the folders are; several runs, also at the same time, may share it.
        max_gb: How much ``folder`` may hold, in 10^9 bytes. What does not fit is computed each
            time.

    Raises:
        ValueError: The encoder has no frozen beginning; the images of a batch would be padded or
            mixed together; ``views`` is below 1.
    """

    def __init__(
        self, views: int = 2, folder: str = 'work_dirs/feature_cache', max_gb: float = 20
    ) -> None:
        if views < 1:
            raise ValueError(f'views={views} of FeatureCacheHook: at least 1.')
        self.views, self.folder, self.max_bytes = views, Path(folder), max_gb * 1e9
        self.turn = torch.zeros((), dtype=torch.long).share_memory_()

    def before_train(self, runner: Runner) -> None:
        self.model = unwrapped(runner)
        self.preprocessor, self.parts = (
            self.model.data_preprocessor,
            list(inner_datasets(runner.train_dataloader.dataset)),
        )
        self._check()
        prefix = FrozenPrefix(self.model.backbone)
        about = json.dumps(
            self._about(runner, prefix), indent=1, sort_keys=True, default=str
        ).encode()
        held = bytes_in(self.folder)
        place = self.folder / hashlib.sha256(about).hexdigest()[:16]
        store = FeatureStore(place, max(0, self.max_bytes - held - len(about)) / get_world_size())
        if is_main_process():
            try:
                write_whole(place / 'about.json', about)
            except OSError as error:  # storing the maps will fail too, and training go on
                runner.logger.warning(f'{place / "about.json"} cannot be written: {error}')
            runner.logger.info(self._announce(prefix, store, held))

        self.pipelines = [part.pipeline for part in self.parts]
        for number, part in enumerate(self.parts):
            part.pipeline = CachedPipeline(part.pipeline, store, number, self.views, self.turn)
        self.model.data_preprocessor = EncodingPreprocessor(self.preprocessor, prefix, store)

    def before_train_epoch(self, runner: Runner) -> None:
        self.turn.fill_(runner.iter // len(runner.train_dataloader))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        self.turn.fill_((runner.iter + 1) // len(runner.train_dataloader))

    def after_train(self, runner: Runner) -> None:
        self.model.data_preprocessor = self.preprocessor
        for part, pipeline in zip(self.parts, self.pipelines, strict=True):
            part.pipeline = pipeline

    def _check(self) -> None:
        if not isinstance(self.model, PEFTSegmentor):
            raise ValueError(
                'FeatureCacheHook is for models of type PEFTSegmentor, got '
                f'{type(self.model).__name__}: remove the '
                'hook from the config.'
            )
        size, mixed = (
            getattr(self.preprocessor, name, None) for name in ('size', 'batch_augments')
        )
        if not size or mixed:
            raise ValueError(
                f'data_preprocessor has size={size} and batch_augments={mixed}: a stored map must '
                'not depend on '
                'the other images of its batch. Set size to that of the training images, and no '
                'batch_augments.'
            )
        for part in self.parts:
            if not any(isinstance(step, PackSegInputs) for step in part.pipeline.transforms):
                raise ValueError(
                    f'The pipeline of {type(part).__name__} does not end with PackSegInputs or '
                    'PackMultiTaskInputs: samples that are mixed later cannot be stored. Remove '
                    'the hook or the '
                    'mixing from the config.'
                )

    def _about(self, runner: Runner, prefix: FrozenPrefix) -> dict:
        """Everything the maps depend on, except the images."""
        device = next(self.model.parameters()).device.type
        with runner.optim_wrapper.optim_context(runner.model):
            precision = (
                torch.get_autocast_dtype(device)
                if torch.is_autocast_enabled(device)
                else 'as the weights'
            )
        return dict(
            format=FORMAT,
            version=__version__,
            arch=self.model.backbone.arch,
            output_of=str(prefix),
            weights=hash_tensors(prefix.state()).hexdigest(),
            precision=str(precision),
            data_preprocessor=runner.cfg.model.data_preprocessor,
            dataset=runner.cfg.train_dataloader.dataset,
        )

    def _announce(self, prefix: FrozenPrefix, store: FeatureStore, held: int) -> str:
        images, weight = sum(map(len, self.parts)), next(self.model.parameters())
        channels = getattr(self.model.backbone, 'in_channels', 3)
        one = 2 * prefix(weight.new_zeros(1, channels, *self.preprocessor.size)).numel()
        everything, there = one * images * self.views, len(store)
        text = (
            f'Feature cache {store.folder}: the output of {prefix}, {images} images x {self.views} '
            'views of '
            f'{one / 1e6:.2f} MB, {everything / 1e9:.1f} GB in all; {there} of these '
            f'{images * self.views} are there.'
        )
        missing = everything - there * one - (self.max_bytes - held)
        if missing > 0:
            text += (
                f' max_gb={self.max_bytes / 1e9:g} leaves no room for {missing / everything:.0%} '
                'of them, which are '
                f'computed each time: {self.folder} holds {held / 1e9:.1f} GB. Raise max_gb, lower '
                'views, or remove old '
                'folders.'
            )
        return text
