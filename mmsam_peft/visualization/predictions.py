"""What a model says of an image, in the files that its tasks call for."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from mmseg.structures import SegDataSample
from torch import Tensor

from ..tasks.base import Task
from ..whole_files import write_whole
from .masks import write_mask


def task_suffix(task: Task) -> str:
    """Classes are pictures, other values arrays (c, H, W)."""
    return '.png' if hasattr(task, 'palette') else '.npy'


def write_tasks(result: SegDataSample, tasks: Iterable[Task], paths: Mapping[str, Path]) -> None:
    """Writes the prediction of each task to ``paths[task.name]``."""
    for task in tasks:
        write_prediction(result.get(f'pred_{task.name}').data, task, paths[task.name])


def write_prediction(prediction: Tensor, task: Task, path: Path) -> None:
    """(c, H, W): class numbers as a PNG with the task's palette, other values as an array."""
    if task_suffix(task) == '.png':
        write_mask(prediction, task.palette.tolist(), path)
        return
    write_array(prediction, path)


def write_array(values: Tensor, path: Path) -> None:
    """Writes a tensor as ``.npy``; NumPy knows no bfloat16, so that fractions are float32."""
    values = values.float() if values.is_floating_point() else values
    content = io.BytesIO()
    np.save(content, values.cpu().numpy())
    write_whole(path, content.getvalue())
