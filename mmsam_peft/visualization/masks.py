"""Predicted classes as picture files."""

import io
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..whole_files import write_whole

Palette = list[list[int]] | None


def write_mask(mask: Tensor, palette: Palette, path: Path) -> None:
    """Writes class numbers (1, H, W) as a PNG, shown in the colours of ``palette``, by default
    greys."""
    picture = Image.fromarray(mask.squeeze(0).to('cpu', torch.uint8).numpy())
    picture.putpalette(_colours(palette).ravel().tolist())
    content = io.BytesIO()
    picture.save(content, 'PNG')
    write_whole(path, content.getvalue())


def write_overlay(
    image: np.ndarray, mask: Tensor, palette: Palette, path: Path, opacity: float = 0.5
) -> None:
    """Writes an image (H, W, 3), RGB, with the colours of its classes (1, H, W) laid over it; black
    classes are left clear."""
    colours = _colours(palette)[mask.squeeze(0).long().cpu().numpy()]
    blended = np.where(
        colours.any(-1, keepdims=True),
        cv2.addWeighted(image, 1 - opacity, colours, opacity, 0),
        image,
    )
    write_picture(blended, path)


def write_picture(image: np.ndarray, path: Path) -> None:
    """Writes an image (H, W, 3), RGB, as a PNG. ValueError when no PNG can hold it."""
    done, content = cv2.imencode('.png', mmcv.rgb2bgr(image))
    if not done:  # OpenCV does not raise
        raise ValueError(
            f'no PNG can hold a picture of {image.shape[1]} x {image.shape[0]} pixels: cut it into '
            'pieces'
        )
    write_whole(path, content.tobytes())


def _colours(palette: Palette) -> np.ndarray:
    return np.array(palette or [[i] * 3 for i in range(256)], dtype=np.uint8)
