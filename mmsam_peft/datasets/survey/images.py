"""What image files are."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..image_files import TURNS, open_image, orientation, read_image
from ..pixels import Pixels, survey_pixels
from ..pixels.stored import Header, kind_text, read_header

FORMATS = dict(JPG='JPEG', TIF='TIFF')


@dataclass(frozen=True)
class ImageFacts:
    """``shape``: (H, W) as it is shown; ``turned``: whether its EXIF data turns it."""

    shape: tuple[int, int]
    kind: str
    turned: bool


def image_facts(path: Path, pixels: Mapping | None = None) -> ImageFacts:
    """Reads the whole image. ValueError, or an error of its decoder, where training could not."""
    content = path.read_bytes()
    shape = read_image(content, pixels).shape[:2]
    return ImageFacts(shape, _kind(path, read_header(io.BytesIO(content))), _is_turned(content))


def needed_pixels(paths: Sequence[Path], bands: Sequence[int] | None, seed: int) -> dict:
    """The setting ``pixels`` that the images need; {} where all are grey or RGB of 8 bits.

    Raises:
        ValueError: images of several kinds, which no setting fits.
    """
    if bands is None and not any(map(_needs_setting, paths)):
        return {}
    return survey_pixels(paths, bands, seed=seed).pixels


def _needs_setting(path: Path) -> bool:
    try:
        with path.open('rb') as file:
            header = read_header(file)
    except Exception:  # each decoder has its own; it is said where the image is read
        return False
    try:
        Pixels().require(header)
    except ValueError:
        return True
    return False


def _kind(path: Path, header: Header) -> str:
    suffix = path.suffix[1:].upper()
    colours = {1: 'grey', 3: 'RGB'}.get(header.bands - header.alpha)
    plain = colours and header.dtype == 'uint8'
    return f'{colours if plain else kind_text(header)} {FORMATS.get(suffix, suffix)}'


def _is_turned(content: bytes) -> bool:
    try:
        with open_image(content) as image:
            return orientation(image) in TURNS
    except ValueError:  # of a kind that Pillow does not know
        return False
