"""Three generated worlds of images with their labels, drawn with numpy and OpenCV alone.

``draw_objects`` is the pre-training world: unrelated things in front of patterned backgrounds, mask
= any thing. ``draw_roads`` is the fine-tuning world: farmland from above, mask = road, also where
trees hide it. A road takes its colour from the fields around it and shares it with streams, yards
and roofs, so that its shape and its markings tell it apart. ``draw_shapes`` is the multi-task
world: spheres, boxes and cylinders on a floor before a wall, ray-cast, with exact classes, depth
and surface normals.

All take a random generator, whose state alone decides the drawing, and the size of the picture in
pixels; they return an image (H, W, 3) uint8 RGB and its labels, which are a mask (H, W) uint8 of 0
and 1 for the first two worlds.
"""

from .generate import SPLITS, generate_scenes
from .objects import draw_objects
from .roads import draw_roads
from .shapes import draw_shapes

__all__ = ['SPLITS', 'draw_objects', 'draw_roads', 'draw_shapes', 'generate_scenes']
