"""What an image file is."""

from dataclasses import dataclass
from pathlib import Path

from ..image_files import TURNS, open_image, orientation, read_image


@dataclass(frozen=True)
class ImageFacts:
    """``shape``: (H, W) as it is shown; ``turned``: whether its EXIF data turns it."""

    shape: tuple[int, int]
    kind: str
    turned: bool


def image_facts(path: Path) -> ImageFacts:
    """Reads the whole image. ValueError, or an error of its decoder, where training could not."""
    content = path.read_bytes()
    shape = read_image(content).shape[:2]
    with open_image(content) as image:
        bands = {'1': 'black and white', 'L': 'grey', 'P': 'palette'}.get(image.mode, image.mode)
        return ImageFacts(shape, f'{bands} {image.format}', orientation(image) in TURNS)
