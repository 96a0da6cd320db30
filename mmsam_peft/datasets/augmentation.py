"""The named sets of random transforms of training images."""

from copy import deepcopy

FLIP = dict(type='RandomFlip', prob=0.5, direction='horizontal')
COLOUR = dict(type='RandomColour')

PRESETS: dict[str, list[dict]] = dict(
    none=[],
    light=[FLIP, dict(type='RandomAffine', scale=(0.75, 1.5))],
    strong=[FLIP, dict(type='RandomAffine', scale=(0.75, 1.5), degrees=20), COLOUR],
)
"""Of images with a mask, at the size at which the network sees them."""

ZOOM_AND_FLIP = [dict(type='MultiTaskZoomCrop'), dict(type='MultiTaskFlip')]
MULTI_TASK_PRESETS: dict[str, list[dict]] = dict(
    none=[],
    light=ZOOM_AND_FLIP,
    strong=[*ZOOM_AND_FLIP, dict(type='RandomAffine', degrees=20), COLOUR],
)
"""Of images with the labels of several tasks, at their own size: what zooming and flipping makes of
depth and normals is known. Normals cannot be turned."""

REPLACED = {
    'MultiTaskFlip',
    'MultiTaskZoomCrop',
    'PhotoMetricDistortion',
    'RandomAffine',
    'RandomColour',
    'RandomFlip',
    'RandomRotFlip',
    'RandomRotate',
}
"""Random transforms in whose place a set comes."""


def preset(name: str, multi_task: bool = False, rgb: bool = True) -> list[dict]:
    """The transforms of a set, as configs.

    Args:
        multi_task: Whether samples have the labels of several tasks.
        rgb: Whether three bands are red, green and blue, which have a hue.
    """
    steps = deepcopy((MULTI_TASK_PRESETS if multi_task else PRESETS)[name])
    for step in steps:
        if step['type'] == COLOUR['type'] and not rgb:
            step.update(saturation=0, hue=0)
    return steps
