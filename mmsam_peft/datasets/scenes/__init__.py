"""Two generated worlds of images with binary masks, drawn with numpy and OpenCV alone.

``draw_objects`` is the pre-training world: unrelated things in front of patterned backgrounds, mask = any thing.
``draw_roads`` is the fine-tuning world: farmland from above, mask = road, also where trees hide it. A road takes its colour
from the fields around it and shares it with streams, yards and roofs, so that its shape and its markings tell it apart.

Both take a random generator, whose state alone decides the drawing, and the size of the picture in pixels; they return an
image (H, W, 3) uint8 RGB and a mask (H, W) uint8 of 0 and 1.
"""
from .generate import SPLITS, generate_scenes
from .objects import draw_objects
from .roads import draw_roads

__all__ = ['SPLITS', 'draw_objects', 'draw_roads', 'generate_scenes']
