"""The contract of a dense task: its labels, loss, prediction, metrics and picture."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..registry import TASKS

IGNORE = 255
"""Class number of pixels that take no part."""
GREY = (180, 180, 180)
"""Colour of pixels without a value."""


class Task:
    """One thing to predict at every pixel. A kind is a subclass, registered in ``TASKS``.

    A kind sets the class attributes and writes ``check`` and ``valid`` (labels), ``pixel_loss`` and
    ``predict`` (training), ``count`` and ``scores`` (metrics) and ``colour`` (pictures), and, where
    its values depend on geometry, ``flip`` and ``zoom``. Labels are numpy (H, W, c) in the pipeline
    and tensors (c, H, W) in samples. Metrics that are a share are given in percent.

    Args:
        name: Its fields are ``gt_NAME`` and ``pred_NAME``, its results ``NAME/METRIC``.
        weight: Of its loss among those of the other tasks, positive.
        protocol: How images become one number. 'pooled': all valid pixels of the data set count
            alike, whatever image they are from. 'per_image': the mean over images of the image's
            value. Numbers of the two are not comparable. Either way images without a valid pixel
            take no part.

    Raises:
        ValueError: The name has other characters than letters, digits and _, or weight or protocol
            is not as above.
    """

    channels = 1
    """Channels K of the network's output."""
    label_channels = 1
    """Channels c of a label and of a prediction."""
    interpolation = 'bilinear'
    """How labels are resized, 'nearest' or 'bilinear' (over valid pixels)."""
    better: dict[str, str] = {}
    """Whether 'higher' or 'lower' is better, by metric."""
    overlay = False
    """Whether a picture lets the image shine through."""
    unit = ''
    """What stands at the colour scale, where there is one."""

    def __init__(self, name: str, weight: float = 1.0, protocol: str = 'pooled') -> None:
        if not name.isidentifier():
            raise ValueError(
                f'A task is named {name!r}, expected letters, digits and _, no digit first: it '
                'names fields.'
            )
        if not 0 < weight < math.inf:
            raise ValueError(
                f'weight={weight} of task {name!r}: expected a positive number. Tasks left out are '
                'not listed.'
            )
        if protocol not in ('pooled', 'per_image'):
            raise ValueError(
                f"protocol={protocol!r} of task {name!r}: expected 'pooled' or 'per_image'."
            )
        self.name, self.weight, self.protocol = name, weight, protocol

    @property
    def main_metric(self) -> str:
        """By which the best checkpoint is chosen where the task is trained alone: the first of
        ``better``, unless a kind says otherwise."""
        return next(iter(self.better))

    def __repr__(self) -> str:
        return f'{type(self).__name__} {self.name!r}'

    # Labels, numpy (H, W, c)

    def check(self, label: np.ndarray) -> None:
        """Raises ValueError, naming the task and what to do, if a label read from a file cannot be
        one."""
        if label.ndim != 3 or label.shape[2] != self.label_channels:
            raise ValueError(
                f'{self}: the label has shape {label.shape}, expected (H, W, '
                f'{self.label_channels}).'
            )

    def valid(self, label: np.ndarray) -> np.ndarray:
        """(H, W) bool: where the label has a value."""
        raise NotImplementedError

    def flip(self, label: np.ndarray) -> np.ndarray:
        """What the values of an already mirrored label become."""
        return label

    def zoom(self, label: np.ndarray, scale: float) -> np.ndarray:
        """What the values become when the image is magnified by ``scale``, as if the camera came
        nearer."""
        return label

    # Training, tensors (B, channels, H, W)

    def loss(self, output: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        """Mean loss over valid pixels in float32 or finer; where none is valid, zero with a zero
        gradient.

        Args:
            output: (B, K, H, W), the network's.
            label: (B, c, H, W); what stands at pixels that are not valid has no influence.
            valid: (B, 1, H, W), bool.

        Raises:
            ValueError: The shapes do not fit.
        """
        B, K, H, W = output.shape
        if (K, *label.shape, *valid.shape) != (
            self.channels,
            B,
            self.label_channels,
            H,
            W,
            B,
            1,
            H,
            W,
        ):
            raise ValueError(
                f'{self} got output {(*output.shape,)}, label {(*label.shape,)} and valid '
                f'{(*valid.shape,)}, '
                f'expected (B, {self.channels}, H, W), (B, {self.label_channels}, H, W), (B, 1, H, '
                'W).'
            )
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        return masked_mean(self.pixel_loss(output, torch.where(valid, label, 0), valid), valid)

    def pixel_loss(self, output: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        """(B, 1, H, W), the loss of each pixel; labels are 0 where not valid."""
        raise NotImplementedError

    def predict(self, output: Tensor) -> Tensor:
        """(B, K, H, W) outputs to (B, c, H, W) values as labels have them."""
        raise NotImplementedError

    # Metrics, numpy

    def measure(
        self, prediction: np.ndarray, label: np.ndarray, valid: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Sufficient statistics of one image, sums over its valid pixels.

        Args:
            prediction: (c, H, W).
            label: (c, H, W).
            valid: (1, H, W), bool.
        """
        return dict(pixels=valid.sum(), **self.count(prediction[:, valid[0]], label[:, valid[0]]))

    def count(self, prediction: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
        """Statistics of values (c, N), which may be added up over images."""
        raise NotImplementedError

    def summarise(
        self, measured: Sequence[dict[str, np.ndarray]], protocol: str
    ) -> dict[str, float]:
        """One number per metric from the statistics of images, which are left as they are.

        Raises:
            ValueError: if no image has a valid pixel.
        """
        kept = [one for one in measured if one['pixels']]
        if not kept:
            raise ValueError(
                f'{self} has no labelled pixel in any of the {len(measured)} evaluated images with '
                'a label: check '
                'its label files and ignored values, or remove the task from the metric.'
            )
        if protocol == 'pooled':
            kept = [added(kept)]
        scores = [self.scores(one) for one in kept]
        return {
            metric: float(np.max(np.mean([one[metric] for one in scores], axis=0)))
            for metric in self.better
        }

    def scores(self, statistics: dict[str, np.ndarray]) -> dict[str, float | np.ndarray]:
        """The metrics from the statistics of an image or of their sum; a curve counts with its
        maximum, after averaging."""
        raise NotImplementedError

    def class_scores(self, statistics: dict[str, np.ndarray]) -> dict[str, float]:
        """The main metric of each class by its name, where a kind has classes; ``statistics`` are
        summed over images."""
        return {}

    # Pictures, numpy (c, H, W)

    def draw(self, value: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
        """RGB, uint8 (H, W, 3), of a label or prediction; grey where it has no value.

        Args:
            limits: Values that get the first and last colour, where there is a scale; by default
                ``self.limits(value)``.
        """
        seen = self.valid(np.moveaxis(value, 0, -1))
        colours = self.colour(value, limits or self.limits(value))
        return np.where(seen[..., None], np.rint(colours), GREY).astype(np.uint8)

    def colour(self, value: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
        """(H, W, 3) in [0, 255]."""
        raise NotImplementedError

    def limits(self, value: np.ndarray) -> tuple[float, float] | None:
        """The ends of the colour scale that ``value`` asks for; None if the kind has no scale or
        ``value`` nothing to show."""


def build_tasks(configs: Sequence[dict]) -> list[Task]:
    """The tasks of a config, in its order.

    Raises:
        ValueError: None, or two of one name.
    """
    tasks = [TASKS.build(config) for config in configs]
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f'tasks has the names {names}, expected at least one, and each only once.')
    return tasks


def added(measured: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The sums of statistics over images."""
    return {key: sum(np.asarray(one[key], np.float64) for one in measured) for key in measured[0]}


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over the pixels that are valid; zero, not without a graph, if none is. Does not wait for
    the device."""
    return torch.where(valid, values, 0).sum() / valid.sum().clamp(min=1)
