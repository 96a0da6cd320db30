"""Clicks, boxes and what a model makes of them, on generated scenes."""

from collections.abc import Sequence

import numpy as np

from ..apis.objects.predictor import Predictor
from ..datasets.scenes.objects import draw_instances
from ..measures.clicks import iou_of, robot_click
from ..visualization.images import resized
from ..visualization.instances import draw_prompts, instance_overlay
from ..visualization.sheet import sheet

SCENE = 256
LEAST, MOST = 0.02, 0.3
"""Shares of a scene that an object covers which is pointed at."""
COLOUR = 2
"""The number of the object whose colour, blue, neither kind of clicks has."""
Tile = tuple[str, np.ndarray | None]


def prompt_panels(predictor: Predictor, seeds: Sequence[int], clicks: int = 3, side: int = 190):
    """A picture, RGB, uint8: a row for each scene, with one object after each click of the robot
    user, who corrects the largest error, and in its box; with the IoU.

    Raises:
        ValueError: A scene without an object that is neither small nor large.
    """
    return sheet(
        'Clicks of the robot user (green on the object, red beside it), and a box',
        [scene_row(predictor, seed, clicks, side) for seed in seeds],
    )


def scene_row(predictor: Predictor, seed: int, clicks: int, side: int) -> list[Tile]:
    image, _, instances = draw_instances(np.random.default_rng(seed), SCENE)
    target = instances == chosen(instances, seed)
    predictor.set_image(image)
    points: list[tuple[int, int]] = []
    labels: list[int] = []
    shown = instance_overlay(image, COLOUR * target, opacity=0.3)
    row, mask, logits = [(f'scene {seed}: truth', shown)], np.zeros_like(target), None
    while len(points) < clicks and (click := robot_click(mask, target, taken=points)):
        points.append(click[:2])
        labels.append(click[2])
        masks, scores, answers = predictor.predict(
            points, labels, mask_input=logits, multimask_output=len(points) == 1
        )
        best = scores.argmax()
        mask, logits = masks[best], answers[best : best + 1]
        drawn = draw_prompts(instance_overlay(image, COLOUR * mask), points, labels)
        row.append((f'click {len(points)}: IoU {iou_of(mask, target):.2f}', drawn))
    box = [target.any(0).nonzero()[0][[0, -1]], target.any(1).nonzero()[0][[0, -1]]]
    corners = np.stack(box, 1).ravel() + [0, 0, 1, 1]
    masks, _, _ = predictor.predict(box=corners, multimask_output=False)
    drawn = draw_prompts(instance_overlay(image, COLOUR * masks[0]), box=corners.tolist())
    row += [('', None)] * (clicks + 1 - len(row))
    row.append((f'box: IoU {iou_of(masks[0], target):.2f}', drawn))
    return [(text, tile if tile is None else resized(tile, (side, side))) for text, tile in row]


def chosen(instances: np.ndarray, seed: int) -> int:
    """The largest object of those that are not too large."""
    numbers, areas = np.unique(instances[instances > 0], return_counts=True)
    fits = (areas >= LEAST * instances.size) & (areas <= MOST * instances.size)
    if not fits.any():
        raise ValueError(f'scene {seed} has no object of {LEAST:.0%} to {MOST:.0%}: take another.')
    return int(numbers[fits][areas[fits].argmax()])
