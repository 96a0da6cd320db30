"""JPEGs by OpenCV, which gives pixels of the same libjpeg in a third of Pillow's time: no copy into
four bytes a pixel and back.

Decoding at a half or a quarter of the size, which libjpeg can do, saves little more, as most of the
time goes into reading the code, and is far from a full image that is resized: docs/speed.md.
"""

import re

import cv2
import numpy as np
from PIL import Image

MARKER = re.compile(rb'\xff+([^\x00\xff])')
AFTER_CODE = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]')
"""The marker behind the code of a scan, in which 255 is followed by 0, and restarts may be."""
END, SCAN = 0xD9, 0xDA
SEGMENTS = {*range(0xC0, 0xD0), *range(SCAN, 0xDE), *range(0xE0, 0xF0), 0xFE}
"""Markers that are followed by their length."""


def decode(image: Image.Image, content: bytes) -> np.ndarray | None:
    """RGB or grey, uint8 (H, W, bands), as stored: not yet upright.

    None for what Pillow alone knows: CMYK, and damaged files, which it refuses and OpenCV fills
    with grey.

    Args:
        image: The content as Pillow opens it, not yet decoded.
    """
    if image.format != 'JPEG' or image.mode not in ('L', 'RGB') or not is_whole(content):
        return None
    how = cv2.IMREAD_GRAYSCALE if image.mode == 'L' else cv2.IMREAD_COLOR
    values = cv2.imdecode(np.frombuffer(content, np.uint8), how | cv2.IMREAD_IGNORE_ORIENTATION)
    if values is None or values.shape[:2] != image.size[::-1]:
        return None
    return values[..., None] if values.ndim == 2 else values[..., ::-1]


def is_whole(content: bytes) -> bool:
    """Whether the segments and scans of a JPEG follow each other up to its end."""
    at = 2
    while found := MARKER.match(content, at):
        kind, at = found[1][0], found.end()
        if kind == END:
            return True
        if kind not in SEGMENTS:
            return False
        at += int.from_bytes(content[at : at + 2], 'big')
        if kind == SCAN and (behind := AFTER_CODE.search(content, at)):
            at = behind.start()
    return False
