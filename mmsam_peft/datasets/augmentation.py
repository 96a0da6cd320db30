"""The named sets of random transforms of training images."""

FLIP = dict(type='RandomFlip', prob=0.5, direction='horizontal')
SCALE = dict(type='RandomAffine', scale=(0.75, 1.5))
SCALE_AND_TURN = dict(type='RandomAffine', scale=(0.75, 1.5), degrees=20)
COLOUR = dict(type='RandomColour')

PRESETS = dict(none=[], light=[FLIP, SCALE], strong=[FLIP, SCALE_AND_TURN, COLOUR])
"""Of images with a mask."""

MULTI_TASK_PRESETS = dict(
    none=[],
    light=[dict(type='MultiTaskFlip'), dict(type='MultiTaskZoomCrop')],
    strong=[
        dict(type='MultiTaskFlip'),
        dict(type='MultiTaskZoomCrop'),
        dict(type='RandomAffine', degrees=20),
        COLOUR,
    ],
)
"""Of images with the labels of several tasks: flipping and zooming change depth and normals too."""
