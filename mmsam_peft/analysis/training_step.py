"""A training step of a config: the whole model with its loss and optimizer, computed, or counted
on tensors without content."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils.flop_counter import FlopCounterMode

from ..layers.storage import numbers
from ..models.backbones.frozen_prefix import Encoded, FrozenPrefix
from ..models.segmentors import PEFTSegmentor
from ..registry import MODELS
from .live_memory import LiveTensors
from .operations import ATTENTION

UNCOUNTABLE = DataDependentOutputException, DynamicOutputShapeException


@dataclass(frozen=True)
class StepCost:
    """Bytes: ``peak`` of all tensors there are at a time, from the second step on, of them
    ``weights``, ``gradients`` and ``optimizer`` state. ``flops`` of a step; ``stand_in``: the loss
    looks at values, and a plain one was counted in its place; ``trained``, ``all`` parameters."""

    peak: int
    weights: int
    gradients: int
    optimizer: int
    flops: int
    stand_in: bool
    trained: int
    all: int


def count_step(cfg: Config, batch: int, cached: bool = False) -> StepCost:
    """Counts a step without computing it, for any size on any machine.

    Args:
        batch: Images.
        cached: With a feature cache, when what its frozen beginning makes of the images is read.

    Raises:
        ValueError: The model cannot be built; ``cached``, and it has no frozen beginning.
    """
    kind = MODELS.get(cfg.model.type)
    ours = isinstance(kind, type) and issubclass(kind, PEFTSegmentor)
    with torch.device('meta' if ours else 'cpu'):  # some others read values while being built
        model = build(cfg)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device='cpu')
        for stand_in in (False, True):
            try:
                return _counted(model, cfg, batch, cached, stand_in)
            except UNCOUNTABLE:
                model.zero_grad()
    raise ValueError('The model looks at values to choose what to do: it cannot be counted.')


def _counted(model: nn.Module, cfg: Config, batch: int, cached: bool, stand_in: bool) -> StepCost:
    step = TrainingStep(model, cfg, batch, cached, stand_in)
    held = [*model.parameters(), *model.buffers(), *step.tensors()]
    with LiveTensors(held) as live:
        step.backward()
        passes = live.peak
        gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
        step.optimizer.step()
    step.optimizer.zero_grad()
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        step.backward()  # by itself: its hooks keep what checkpointing computed again
    state = sum(
        value.nbytes
        for values in step.optimizer.state.values()
        for value in values.values()
        if isinstance(value, Tensor)
    )
    sizes = [(numbers(p), p.requires_grad) for p in model.parameters()]
    return StepCost(
        peak=max(passes + state, live.peak),
        weights=sum(p.nbytes for p in [*model.parameters(), *model.buffers()]),
        gradients=gradients,
        optimizer=state,
        flops=counter.get_total_flops(),
        stand_in=stand_in,
        trained=sum(n for n, trained in sizes if trained),
        all=sum(n for n, _ in sizes),
    )


def build(cfg: Config) -> nn.Module:
    """The config's model, weights at random, in training."""
    init_default_scope(cfg.get('default_scope', 'mmsam_peft'))
    made = copy.deepcopy(cfg.model)
    if 'checkpoint' in made:
        made.checkpoint = None
    return MODELS.build(made).train()


class TrainingStep:
    """A step of ``model``, built of ``cfg``, on images and labels of zeros.

    Args:
        stand_in: Take the mean square of what the head gives for the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        cfg: Config,
        batch: int,
        cached: bool = False,
        stand_in: bool = False,
    ) -> None:
        self.model, self.stand_in = model, stand_in
        wrapper = copy.deepcopy(cfg.optim_wrapper)
        if wrapper.get('type') == 'AmpOptimWrapper':  # which wants a GPU to be there
            wrapper = dict(
                type='AutocastOptimWrapper',
                optimizer=wrapper['optimizer'],
                constructor=wrapper.get('constructor', 'TrainedParamsConstructor'),
            )
        self.wrapper: OptimWrapper = build_optim_wrapper(model, wrapper)
        self.optimizer = self.wrapper.optimizer
        size = tuple(cfg.model.data_preprocessor.get('size') or model.backbone.img_size)
        channels = getattr(model.backbone, 'in_channels', 3)
        self.images: Tensor | Encoded = torch.zeros(batch, channels, *size)
        self.samples = [sample_of(model, size) for _ in range(batch)]
        if cached:
            prefix = FrozenPrefix(model.backbone)
            with self.precision():
                self.images = Encoded(prefix, prefix(self.images))

    def precision(self) -> torch.autocast | nullcontext:
        amp = type(self.wrapper).__name__ == 'AutocastOptimWrapper'
        return torch.autocast('cpu', torch.bfloat16) if amp else nullcontext()

    def tensors(self) -> list[Tensor]:
        """Images and labels."""
        images = self.images.map if isinstance(self.images, Encoded) else self.images
        fields = [field for sample in self.samples for field in sample.values()]
        values = [value for field in fields for value in field.values()]
        return [images, *(value for value in values if isinstance(value, Tensor))]

    def backward(self) -> None:
        with self.precision():
            loss = self.loss()
        loss.backward()

    def loss(self) -> Tensor:
        if not self.stand_in:
            return self.model.parse_losses(self.model.loss(self.images, self.samples))[0]
        found = self.model.decode_head(self.model.extract_feat(self.images))
        outputs = found.values() if isinstance(found, dict) else [found]
        return sum(y.float().square().mean() for y in outputs)

    def __call__(self) -> None:
        self.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def sample_of(model: nn.Module, size: tuple[int, ...]) -> SegDataSample:
    """Labels of zeros, of a model of one task or several."""
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
    for name, task in getattr(model, 'tasks', {}).items():
        data = torch.zeros(task.label_channels, *size)
        valid = torch.ones(1, *size, dtype=torch.bool)
        sample.set_data({f'gt_{name}': PixelData(data=data, valid=valid)})
    if not hasattr(model, 'tasks'):
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
    return sample


def repeated(step: Callable[[], None], times: int = 2) -> None:
    """Steps, of which the second has the optimizer's state to hold."""
    for _ in range(times):
        step()
