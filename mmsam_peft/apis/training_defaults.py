"""How to train on a number of images: settings, each with its reason.

The numbers come from benchmarks/small_data.py; docs/small_data.md has its table and says where they
may not hold.
"""

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

BATCH_SIZE = 4
LR = 1e-3
LR_FULL = 2e-4
WARM_UP = 0.1
ITERATIONS = 400
EPOCHS = (16, 30)
"""The least and the most there are, where ITERATIONS allow it."""
VALIDATIONS = 20
VAL_SHARE = 0.2
VAL_IMAGE = 0.4
"""Time of an image in validation, as a share of its time in training."""
PATIENCE = 8


class Choice(NamedTuple):
    """A setting and why it is so, in words."""

    value: float | int | str
    reason: str


@dataclass(frozen=True)
class TrainingDefaults:
    """Settings of a training, by the names of a config's variables.

    ``iterations`` is what the others come from; ``max_epochs`` says it in the config. ``warm_up``
    is a share of the training, ``val_interval`` is in epochs and ``patience`` in validations.
    """

    iterations: Choice
    batch_size: Choice
    max_epochs: Choice
    lr: Choice
    warm_up: Choice
    augment: Choice
    val_interval: Choice
    patience: Choice

    def settings(self) -> dict[str, float | int | str]:
        """What to write into a config."""
        values = {name: value for name, (value, _) in asdict(self).items()}
        del values['iterations']
        return values


def training_defaults(
    num_images: int,
    num_val: int = 0,
    method: str = 'ConvLoRA',
    from_scratch: bool = False,
    max_batch: int = BATCH_SIZE,
    val_cost: float = 1.0,
) -> TrainingDefaults:
    """The settings for a data set.

    Args:
        num_images: Of training.
        num_val: Images of validation.
        method: A fine-tuning method's type, such as 'ConvLoRA', 'Full' or 'Frozen'.
        from_scratch: Without base weights.
        max_batch: What fits into memory.
        val_cost: By how many times more pixels the network looks at in an image of validation than
            in one of training, such as the number of windows.

    Raises:
        ValueError: There is no image, or no room for one.
    """
    if num_images < 1 or num_val < 0 or max_batch < 1 or val_cost <= 0:
        raise ValueError(
            f'got num_images={num_images}, num_val={num_val}, max_batch={max_batch}, '
            f'val_cost={val_cost}, expected at least one image of training and in a batch.'
        )
    batch = _batch_size(num_images, max_batch)
    steps = math.ceil(num_images / batch.value)
    epochs = _epochs(num_images, steps)
    return TrainingDefaults(
        iterations=Choice(epochs.value * steps, 'epochs x batches in one'),
        batch_size=batch,
        max_epochs=epochs,
        lr=_lr(method, from_scratch),
        warm_up=Choice(WARM_UP, 'the first tenth of the training rises to the learning rate'),
        augment=Choice('light', 'flips and scales'),
        val_interval=_val_interval(num_images, num_val, epochs.value, val_cost),
        patience=Choice(
            PATIENCE, f'training ends when {PATIENCE} validations in a row bring nothing better'
        ),
    )


def _batch_size(num_images: int, largest: int) -> Choice:
    largest = min(largest, BATCH_SIZE)
    value = math.ceil(num_images / math.ceil(num_images / largest))
    if value < largest:
        return Choice(value, f'{num_images} images in batches as even as can be')
    return Choice(value, f'{value} images a step were enough in our trials')


def _epochs(num_images: int, steps: int) -> Choice:
    least, most = EPOCHS
    if least * steps < ITERATIONS:
        epochs = math.ceil(ITERATIONS / steps)
        return Choice(
            epochs, f'about {ITERATIONS} steps; fewer did not suffice, however few the images'
        )
    return Choice(least, f'{least} times through {num_images} images')


def _lr(method: str, from_scratch: bool) -> Choice:
    if from_scratch:
        return Choice(LR, 'weights that start at random values have to go far')
    if method == 'Full':
        return Choice(LR_FULL, 'all weights move: larger steps would undo what the encoder knows')
    return Choice(LR, f'{LR} was at or near the best with every number of images')


def _val_interval(num_images: int, num_val: int, epochs: int, cost: float) -> Choice:
    by_time = num_val * cost * VAL_IMAGE * (1 - VAL_SHARE) / VAL_SHARE / num_images
    by_number = epochs / VALIDATIONS
    value = min(max(1, math.ceil(max(by_time, by_number))), epochs)
    if by_time > max(1, by_number):
        reason = f'{num_val} images of validation take at most a fifth of the time'
    else:
        reason = f'at most {VALIDATIONS} validations'
    return Choice(value, reason)
