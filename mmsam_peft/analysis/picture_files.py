"""Pictures for documents."""

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ..whole_files import whole_file, write_whole


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches of 90 dots."""
    figure = Figure(figsize=(width, height), dpi=90, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    with whole_file(path) as file:
        figure.savefig(file, format='png')


def save_picture(picture: np.ndarray, path: str | Path) -> None:
    """Writes RGB, uint8 (H, W, 3), as a JPEG or PNG, by the name's ending. ValueError for
    another."""
    path = Path(path)
    formats = {'.jpg': 'JPEG', '.jpeg': 'JPEG', '.png': 'PNG'}
    if path.suffix.lower() not in formats:
        raise ValueError(f'{path}: expected a name that ends in {", ".join(formats)}.')
    content = io.BytesIO()
    Image.fromarray(picture).save(content, formats[path.suffix.lower()], quality=82, optimize=True)
    write_whole(path, content.getvalue())
