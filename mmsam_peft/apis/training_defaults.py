"""How to train on a number of images: settings, each with its reason.

The numbers come from benchmarks/small_data.py. docs/small_data.md has its table, and says where
they may not hold.
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

BATCH_SIZE = 4
LR, LR_FULL = 1e-3, 2e-4
FEW, LR_FEW = 20, 2e-3
"""So few images need larger steps: with 5, 1e-3 stayed below decoder-only on one set of four."""
WARM_UP = 20
ITERATIONS = 400
"""At least, however few the images."""
EPOCHS = 16
"""At least, however many the images."""
VALIDATIONS = 20
VAL_SHARE = 0.2
VAL_IMAGE, VAL_IMAGE_FROZEN = 0.4, 0.55
"""The time of an image in validation, as a share of its time in training; with a frozen encoder,
training is cheaper."""
PATIENCE = 10
"""Half of the validations: as the learning rate falls, the best scores come late."""


class Choice(NamedTuple):
    """A setting, and why it is so in words."""

    value: float | int | str
    reason: str


@dataclass(frozen=True)
class TrainingDefaults:
    """Settings of a training, by their names in a config.

    Attributes:
        iterations: What ``max_epochs`` comes from and amounts to.
        warm_up: Iterations; configs/_base_/schedules/adamw_small.py has them.
        val_interval: Epochs.
        patience: Validations.
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
        """What to write into a config that inherits adamw_small.py."""
        names = {one.name for one in fields(self)} - {'iterations', 'warm_up'}
        return {name: choice.value for name, choice in vars(self).items() if name in names}


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
        num_val: Of validation.
        method: The type of a fine-tuning method: 'Full' moves all weights, 'Frozen' none of the
            encoder's.
        from_scratch: Without base weights.
        max_batch: How many images fit into memory.
        val_cost: The pixels of an image of validation that the network looks at, divided by those
            of an image of training: above 1 with windows.

    Raises:
        ValueError: There is no image, or no room for one.
    """
    if num_images < 1 or num_val < 0 or max_batch < 1 or val_cost <= 0:
        raise ValueError(
            f'got num_images={num_images}, num_val={num_val}, max_batch={max_batch}, '
            f'val_cost={val_cost}, expected at least one image of training, one in a batch, and '
            'a positive cost.'
        )
    batch = _batch_size(num_images, max_batch)
    steps = math.ceil(num_images / batch.value)
    epochs = _epochs(num_images, steps)
    cost = val_cost * (VAL_IMAGE_FROZEN if method == 'Frozen' else VAL_IMAGE)
    return TrainingDefaults(
        iterations=Choice(epochs.value * steps, f'{epochs.value} epochs of {steps} steps'),
        batch_size=batch,
        max_epochs=epochs,
        lr=_lr(num_images, method, from_scratch),
        warm_up=Choice(WARM_UP, f'the first {WARM_UP} steps rise to the learning rate'),
        augment=Choice('light', 'flips and scales make more of few images'),
        val_interval=_val_interval(num_images, num_val * cost, epochs.value),
        patience=Choice(
            PATIENCE, f'training ends when {PATIENCE} validations in a row bring nothing better'
        ),
    )


def _batch_size(num_images: int, room: int) -> Choice:
    largest = min(room, BATCH_SIZE)
    value = math.ceil(num_images / math.ceil(num_images / largest))
    if value < largest:
        return Choice(value, f'{num_images} images in batches as even as can be')
    if value < BATCH_SIZE:
        return Choice(value, f'{value} images at a time fit into memory')
    return Choice(value, f'{value} images a step, as in the trials')


def _epochs(num_images: int, steps: int) -> Choice:
    if EPOCHS * steps >= ITERATIONS:
        return Choice(EPOCHS, f'{EPOCHS} times through {num_images} images')
    epochs = math.ceil(ITERATIONS / steps)
    return Choice(epochs, f'about {ITERATIONS} steps: however few the images, a head has to learn')


def _lr(num_images: int, method: str, from_scratch: bool) -> Choice:
    if from_scratch:
        return Choice(LR, 'weights that begin at random values have far to go')
    if method == 'Full':
        return Choice(LR_FULL, 'all weights move: larger steps undo what the encoder knows')
    if num_images <= FEW:
        return Choice(LR_FEW, f'at most {FEW} images: never far from the best of four')
    return Choice(LR, 'the best of those tried with 100 images')


def _val_interval(train: float, val: float, epochs: int) -> Choice:
    """The smallest that is cheap enough.

    Args:
        train, val: The costs of an epoch and of a validation; one more precedes training.
    """
    value = math.ceil(epochs / VALIDATIONS)
    reason = f'at most {VALIDATIONS} validations' if value > 1 else 'after each epoch'
    while value < epochs:
        spent = (1 + math.ceil(epochs / value)) * val
        if spent <= VAL_SHARE * (spent + epochs * train):
            break
        value += 1
        reason = f'validation takes at most {VAL_SHARE:.0%} of the time'
    return Choice(value, reason)
