"""Semantic segmentation, and of human parts."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..registry import TASKS
from .base import IGNORE, Task


@TASKS.register_module()
class SemanticSegmentation(Task):
    """A class for each pixel; labels are class numbers, 255 where ignored. Trained by
    cross-entropy.

    ``mIoU`` is the mean of the classes' IoU, without classes that occur neither among the labels
    nor among the predictions of what is evaluated (the data set, or with 'per_image' the image); a
    class that is only predicted counts as 0. ``PixAcc`` is the share of pixels that are right.

    Args:
        name: See ``Task``.
        num_classes: K.
        classes: Their names.
        palette: Their colours, RGB; by default hues far apart.
        kwargs: ``weight`` and ``protocol`` of ``Task``.

    Raises:
        ValueError: The number of classes, names and colours disagree.
    """

    interpolation = 'nearest'
    better = dict(mIoU='higher', PixAcc='higher')
    overlay = True

    def __init__(
        self,
        name: str,
        num_classes: int,
        classes: Sequence[str] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(name, **kwargs)
        if not 2 <= num_classes <= IGNORE:
            raise ValueError(
                f'{self} has num_classes={num_classes}, expected 2 to {IGNORE} (for one class use '
                'Saliency).'
            )
        for what, given in dict(classes=classes, palette=palette).items():
            if given is not None and len(given) != num_classes:
                raise ValueError(
                    f'{self} has num_classes={num_classes}, but {what} lists {len(given)}.'
                )
        self.channels, self.classes = num_classes, classes
        self.palette = np.asarray(spread_colours(num_classes) if palette is None else palette)

    def check(self, label: np.ndarray) -> None:
        super().check(label)
        found = np.unique(label)
        if wrong := [
            value.item() for value in found if value not in range(self.channels) and value != IGNORE
        ]:
            raise ValueError(
                f'{self}: the label has values {wrong[:10]}, expected 0 to {self.channels - 1}, '
                f'and {IGNORE} if '
                'ignored: check num_classes and how ignored pixels are read.'
            )

    def valid(self, label: np.ndarray) -> np.ndarray:
        return label[..., 0] != IGNORE

    def pixel_loss(self, output: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        return F.cross_entropy(output, label[:, 0].long(), reduction='none')[:, None]

    def predict(self, output: Tensor) -> Tensor:
        return output.argmax(1, keepdim=True)

    def count(self, prediction: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
        """Of each class (K,), the sums of rows, columns and the diagonal of the confusion
        matrix."""
        right = label[prediction == label]
        return {
            key: np.bincount(one.ravel(), minlength=self.channels)
            for key, one in dict(labelled=label, predicted=prediction, right=right).items()
        }

    def scores(self, statistics: dict[str, np.ndarray]) -> dict[str, float]:
        right = statistics['right']
        union = statistics['labelled'] + statistics['predicted'] - right
        occurs = union > 0
        return dict(
            mIoU=100 * (right[occurs] / union[occurs]).mean(),
            PixAcc=100 * right.sum() / statistics['pixels'],
        )

    def class_scores(self, statistics: dict[str, np.ndarray]) -> dict[str, float]:
        """``IoU/CLASS`` of the classes that occur, in percent, whatever the protocol."""
        right = statistics['right']
        union = statistics['labelled'] + statistics['predicted'] - right
        names = self.classes or range(self.channels)
        return {
            f'IoU/{name}': 100 * float(one / whole)
            for name, one, whole in zip(names, right, union, strict=True)
            if whole
        }

    def colour(self, value: np.ndarray, limits: None) -> np.ndarray:
        return self.palette[np.minimum(value[0], self.channels - 1)]


@TASKS.register_module()
class HumanParts(SemanticSegmentation):
    """Parts of people, by default the seven of PASCAL-Part as PASCAL_MT groups them.

    There an image without people has no label of this task, and no part in its metrics.
    """

    def __init__(
        self,
        name: str,
        num_classes: int = 7,
        classes: Sequence[str] = (
            'background',
            'head',
            'torso',
            'upper arm',
            'lower arm',
            'upper leg',
            'lower leg',
        ),
        palette: Sequence[Sequence[int]] | None = None,
        **kwargs,
    ) -> None:
        palette = palette or [(0, 0, 0), *spread_colours(num_classes - 1)]
        super().__init__(name, num_classes, classes, palette, **kwargs)


def spread_colours(number: int) -> list[tuple[int, ...]]:
    """Colours (R, G, B) whose hues step by the golden ratio, light and dark in turn."""
    return [
        tuple(round(255 * part) for part in hsv_to_rgb(0.618034 * i % 1, 0.75, 1 - 0.4 * (i % 2)))
        for i in range(number)
    ]
