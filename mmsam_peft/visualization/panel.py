"""A picture of what a model says of an image, task by task.

Matplotlib, which takes half a second to import, is imported when something is drawn.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmseg.structures import SegDataSample

from ..tasks.base import Task
from .masks import write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Item = tuple[Task, np.ndarray, np.ndarray | None]
"""A task, its prediction and its label or None, both (c, H, W)."""
TALLEST = 8
"""Height by width of a picture in a panel, or the other way round; a longer image is shown
smaller."""


def panel(image: np.ndarray, items: Sequence[Item]) -> np.ndarray:
    """A picture, RGB, uint8: the image, and in a column for each task its prediction above its
    ground truth.

    Classes are laid over the image. Prediction and ground truth share a colour scale, that of the
    ground truth if it has one. A column is 3 inches of 110 dots wide, whatever the size of the
    image, and at most ``TALLEST`` times as high.

    Args:
        image: RGB, uint8 (H, W, 3).
        items: Predictions and labels at any size; those laid over the image need its size.

    Raises:
        ValueError: Classes have another size than the image.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = image.shape[:2]
    rows, columns = 1 if all(label is None for _, _, label in items) else 2, 1 + len(items)
    scales = [
        (label is not None and task.limits(label)) or task.limits(prediction)
        for task, prediction, label in items
    ]
    inches = (
        3 * columns + 0.7 * sum(map(bool, scales)),
        rows * (3 * min(max(height / width, 1 / TALLEST), TALLEST) + 0.25),
    )
    figure = Figure(figsize=inches, dpi=110, layout='compressed')
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.set_axis_off()
    _show(axes[0, 0], image, 'image')
    for column, ((task, prediction, label), limits) in enumerate(
        zip(items, scales, strict=True), start=1
    ):
        for row, what, value in ((0, 'predicted', prediction), (1, 'ground truth', label)):
            if value is not None:
                _show(axes[row, column], over(image, task, value, limits), f'{task.name}, {what}')
        if limits:
            _scale(figure, axes[:, column], task, limits)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_panel(image: np.ndarray, items: Sequence[Item], path: str | Path) -> None:
    """Writes the panel as a PNG; folders of the path are made."""
    write_picture(panel(image, items), Path(path))


def panel_items(tasks: Iterable[Task], sample: SegDataSample) -> list[Item]:
    """What a sample has of each task: ``pred_TASK``, and ``gt_TASK`` or None."""
    items = []
    for task in tasks:
        prediction, label = (
            sample.get(f'pred_{task.name}').data.cpu(),
            sample.get(f'gt_{task.name}'),
        )
        prediction = (
            prediction.float() if prediction.is_floating_point() else prediction
        )  # numpy knows no bfloat16
        items.append(
            (task, prediction.numpy(), None if label is None else label.data.cpu().numpy())
        )
    return items


def over(
    image: np.ndarray, task: Task, value: np.ndarray, limits: tuple[float, float] | None
) -> np.ndarray:
    """The colours of a prediction or label, over the image where the task lets it shine through.

    Raises:
        ValueError: It has another size than the image.
    """
    colours = task.draw(value, limits)
    if not task.overlay:
        return colours
    if colours.shape != image.shape:
        raise ValueError(
            f'{task} has size {colours.shape[:2]}, the image {image.shape[:2]}: resize one of them.'
        )
    return (0.4 * image + 0.6 * colours).astype(np.uint8)


def _show(axes: 'Axes', picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation='nearest' if picture.shape[0] < 300 else 'antialiased')
    axes.set_title(title, fontsize=8)


def _scale(
    figure: 'Figure', beside: Sequence['Axes'], task: Task, limits: tuple[float, float]
) -> None:
    """A bar of the task's own colours, with its unit."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    ramp = np.broadcast_to(
        np.linspace(*limits, 256, dtype=np.float32), (task.label_channels, 1, 256)
    )
    colours = ListedColormap(task.draw(ramp, limits)[0] / 255)
    bar = figure.colorbar(
        ScalarMappable(Normalize(*limits), colours), ax=beside, shrink=0.8, pad=0.02
    )
    bar.set_label(task.unit, fontsize=8)
    bar.ax.tick_params(labelsize=7)
