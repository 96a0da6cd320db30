"""The objects of an image: those that prompts point at, or all that a grid of points finds."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .coordinates import checked_boxes, checked_points
from .predictor import Predictor
from .prompt_files import ObjectPrompt

AT_A_TIME = 16
"""Objects, each of which takes a copy of the image's map."""


class Instance(NamedTuple):
    """An object that was found.

    Args:
        mask: (H, W), bool.
        score: The IoU that the model expects of the mask.
        prompt: What pointed at it.
        stability: IoU of the masks at two thresholds, of automatic masks; else None.
    """

    mask: np.ndarray
    score: float
    prompt: ObjectPrompt
    stability: float | None = None


def prompted_instances(predictor: Predictor, objects: Sequence[ObjectPrompt]) -> list[Instance]:
    """The objects of the predictor's image that prompts point at, in their order.

    A single click may mean a thing, a part of it or what it belongs to: of the model's three masks
    that which it holds to be the best is taken. More clicks and boxes have one mask, as SAM's
    authors advise.

    Raises:
        ValueError: A point or box outside of the image.
    """
    found: dict[int, Instance] = {}
    kinds: dict[tuple, list[int]] = {}
    for i, one in enumerate(objects):
        kinds.setdefault((one.box is not None, len(one.points)), []).append(i)
    for (_, points), numbers in kinds.items():
        for batch in batched(numbers, AT_A_TIME):
            given = tensors(predictor, [objects[i] for i in batch])
            logits, scores = predictor.answer(**given, multimask_output=points == 1)
            best = scores.argmax(1)
            for n, i in enumerate(batch):  # one by one: masks of the image's size are large
                mask = predictor.to_image(logits[n : n + 1, best[n : n + 1]])[0, 0]
                mask = (mask > predictor.mask_threshold).cpu().numpy()
                found[i] = Instance(mask, scores[n, best[n]].item(), objects[i])
    return [found[i] for i in range(len(objects))]


def tensors(predictor: Predictor, objects: Sequence[ObjectPrompt]) -> dict[str, Tensor | None]:
    """Prompts of as many points each, or a box each, as ``predict_torch`` takes them."""
    size, transform = predictor.original_size, predictor.transform
    boxes = coords = labels = None
    if objects[0].box is not None:
        boxes = transform.apply_boxes(checked_boxes([one.box for one in objects], size), size)
    if objects[0].points:
        points = [checked_points(one.points, one.labels, size) for one in objects]
        coords = transform.apply_coords(np.stack([one[0] for one in points]), size)
        labels = np.stack([one[1] for one in points])
    return dict(
        point_coords=_tensor(coords, torch.float32, predictor.device),
        point_labels=_tensor(labels, torch.long, predictor.device),
        boxes=_tensor(boxes, torch.float32, predictor.device),
    )


def _tensor(values: np.ndarray | None, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    return None if values is None else torch.as_tensor(values, dtype=dtype, device=device)


def batched(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
