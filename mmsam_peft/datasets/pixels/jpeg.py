"""JPEGs by OpenCV, which gives pixels of the same libjpeg in a third of Pillow's time: no copy into
four bytes a pixel and back.

Decoding at a half or a quarter of the size, which libjpeg can do, saves little more, as most of the
time goes into reading the code, and is far from a full image that is resized: docs/speed.md.
"""

import cv2
import numpy as np
from PIL import Image

END = b'\xff\xd9'
"""The marker that ends a JPEG."""
NEAR = 32
"""Bytes that may follow it."""


def decode(image: Image.Image, content: bytes) -> np.ndarray | None:
    """RGB or grey, uint8 (H, W, bands), as stored: not yet upright.

    None for what Pillow alone knows: CMYK, and files without an end, which it refuses and OpenCV
    fills with grey.

    Args:
        image: The content as Pillow opens it, not yet decoded.
    """
    if image.format != 'JPEG' or image.mode not in ('L', 'RGB') or END not in content[-NEAR:]:
        return None
    how = cv2.IMREAD_GRAYSCALE if image.mode == 'L' else cv2.IMREAD_COLOR
    values = cv2.imdecode(np.frombuffer(content, np.uint8), how | cv2.IMREAD_IGNORE_ORIENTATION)
    if values is None or values.shape[:2] != image.size[::-1]:
        return None
    return values[..., None] if values.ndim == 2 else values[..., ::-1]
