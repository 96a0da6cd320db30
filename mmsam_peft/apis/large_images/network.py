"""From windows to logits, and from logits to class numbers."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.decode_heads.sam_decoder import to_image
from ...models.segmentors import MultiTaskSegmentor
from ...models.segmentors.finite_outputs import require_finite_outputs
from ...models.segmentors.peft_segmentor import at_least_float32
from ..extras import BACKGROUND, is_binary
from .windows import Window, Windows

NOTHING = 255
"""The class number of pixels without an image."""


class Network:
    """A model, or one task of a model of several.

    Args:
        task: Which, where the model has several.
        threshold: Of the foreground's probability, for models of one class; None: the model's own.
        amp: Compute in bfloat16.

    Raises:
        ValueError: No such task, or none without classes; no threshold.
    """

    def __init__(
        self,
        model: nn.Module,
        task: str | None = None,
        threshold: float | None = None,
        amp: bool = False,
    ) -> None:
        self.model, self.amp = model, amp
        self.device = next(model.parameters()).device
        self.task = _task(model, task)
        meta = model.dataset_meta
        classes, palette = (
            (meta.get('classes'), meta.get('palette'))
            if self.task is None
            else (self.task.classes, self.task.palette.tolist())
        )
        self.binary = self.task is None and is_binary(model)
        number = 2 if self.binary else self.task.channels if self.task else model.out_channels
        if number > NOTHING:
            raise ValueError(
                f'this model has {number} classes: masks of 8 bits have room for {NOTHING}.'
            )
        self.classes = [str(name) for name in classes or range(number)]
        self.palette = [
            list(map(int, colour)) for colour in palette or [[i] * 3 for i in range(number)]
        ]
        if threshold is not None and not self.binary:
            raise ValueError(
                f'threshold={threshold}: the model chooses the likeliest of {number} classes, and '
                'has no threshold.'
            )
        if threshold is not None and not 0 < threshold < 1:
            raise ValueError(f'threshold={threshold}: expected a probability between 0 and 1.')
        own = getattr(model.decode_head, 'threshold', None) if self.binary else None
        self.threshold = own if threshold is None else threshold

    @property
    def background(self) -> int | None:
        """The class that is no object, if any: see ``extras.background``."""
        named = self.classes[0].lower() in BACKGROUND
        return 0 if self.binary or named or not any(self.palette[0]) else None

    @torch.no_grad()
    def parts(self, given: Sequence[Window], windows: Windows) -> list[Tensor]:
        """What each window says of the pixels of its span, (K, h, w): a share of their logits, so
        that the sum over windows is the mean over windows, brought to the pixels of the file.

        Raises:
            NotFiniteError: A logit is NaN or infinite; names the window.
        """
        found = []
        for one, logits in zip(given, self._logits(given, windows.whole), strict=True):
            for axis, number, dim in (
                (windows.rows, one.row, -2),
                (windows.columns, one.column, -1),
            ):
                start = axis.starts[number]
                share = torch.from_numpy(axis.shares[start : start + axis.window]).to(self.device)
                logits = logits * (share[:, None] if dim == -2 else share)
                if axis.scaled != axis.pixels:
                    logits = _stretched(logits, axis.stretch(number), dim)
            found.append(logits.cpu())
        return found

    def classes_of(self, logits: Tensor) -> Tensor:
        """(K, h, w) to class numbers (h, w), uint8."""
        if self.task is not None:
            made = self.task.predict(logits[None])[0, 0]
        elif self.binary:
            made = logits[0].sigmoid() > self.threshold
        else:
            made = logits.argmax(0)
        return made.to(torch.uint8)

    def _logits(self, given: Sequence[Window], whole: bool) -> Tensor:
        """(B, K, h, w), float32, at the size of the windows."""
        data = {key: [one.data[key] for one in given] for key in ('inputs', 'data_samples')}
        data = self.model.data_preprocessor(data, False)
        inputs, samples = data['inputs'], data['data_samples']
        size = tuple(inputs.shape[2:])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            if self.task is None:
                logits = self.model.encode_decode(inputs, [one.metainfo for one in samples])
            else:
                maps = self.model.outputs(inputs, [self.task.name])[self.task.name]
                logits = to_image(maps, size, self.model.decode_head.stride)
        logits = at_least_float32(logits)
        require_finite_outputs(logits, samples, 'logits')
        meta = samples[0].metainfo
        height, width = meta['img_shape'][:2]
        logits = logits[..., :height, :width]  # padding is to the right and below
        if whole and tuple(logits.shape[2:]) != tuple(meta['ori_shape'][:2]):
            logits = F.interpolate(
                logits,
                size=tuple(meta['ori_shape'][:2]),
                mode='bilinear',
                align_corners=self.model.align_corners,
            )
        return logits


def _stretched(logits: Tensor, taps: list, dim: int) -> Tensor:
    """Linear interpolation along an axis, as ``Axis.stretch`` says."""
    made = 0
    for index, weight in taps:
        weight = torch.from_numpy(weight).to(logits)
        taken = logits.index_select(dim, torch.from_numpy(index).to(logits.device))
        made = made + taken * (weight[:, None] if dim == -2 else weight)
    return made


def _task(model: nn.Module, name: str | None):
    if not isinstance(model, MultiTaskSegmentor):
        if name is not None:
            raise ValueError(f'task={name!r}: this model has one task, and needs no name of it.')
        return None
    tasks = {key: task for key, task in model.tasks.items() if hasattr(task, 'palette')}
    if name not in tasks:
        raise ValueError(
            f'task={name!r}: expected one of {", ".join(tasks) or "none"}, the tasks of this model '
            f'that have classes. (It has {", ".join(model.tasks)}.)'
        )
    return tasks[name]
