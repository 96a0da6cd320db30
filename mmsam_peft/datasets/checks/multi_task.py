"""What is wrong with a set of several tasks, for :func:`check_dataset`."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from multiprocessing.pool import ThreadPool

import mmcv.transforms
import numpy as np
from mmengine.logging import print_log
from rich.progress import track

from ...tasks import Task
from ...tasks.binary import BinaryTask
from ...tasks.semantic import SemanticSegmentation
from ..multi_task import MultiTaskDataset
from ..transforms.loading import LoadImageFromFile, LoadImageOrArray
from .classes import ClassesSeen
from .loaders import THREADS, loader_of
from .problems import (
    BAD_IMAGE,
    BAD_LABEL,
    CLASSES,
    FILES_LISTED,
    LABEL_SIZES,
    LABEL_VALUES,
    TASKS,
    reason,
    short,
    size_text,
)


def multi_task_problems(
    dataset: MultiTaskDataset, in_model: Mapping[str, Task]
) -> tuple[dict[str, list[str]], dict[str, ClassesSeen], Counter[str], Counter]:
    """Reads every image and label: kind of problem -> one line for each file that has it; by
    task, which classes are seen and how many pixels are valid; and how many images there are of
    each (height, width).

    A label without one valid pixel is as good as none: a warning.
    """
    load_image = loader_of(
        dataset, LoadImageOrArray, LoadImageFromFile, mmcv.transforms.LoadImageFromFile
    )
    dataset.full_init()
    problems, valid, void, sizes = (
        {kind: list(lines) for kind, lines in dataset.problems.items()},
        Counter(),
        [],
        Counter(),
    )
    seen = {
        task.name: ClassesSeen(f"all labels of the task '{task.name}'", classes_of(task))
        for task in dataset.tasks
    }
    classes = dataset.metainfo.get('classes')
    for task in dataset.tasks:
        if classes and type(task) is SemanticSegmentation and task.channels != len(classes):
            problems.setdefault(CLASSES, []).append(
                f'{len(classes)} in the data set ({short(", ".join(classes))}), {task.channels} in '
                f"the task '{task.name}'"
            )
        other = in_model.get(task.name, task)
        if (type(other), other.channels) != (type(task), task.channels):
            problems.setdefault(TASKS, []).append(
                f'{task} of {task.channels} channels in the data set, {other} of {other.channels} '
                'in the model'
            )
    with ThreadPool(THREADS) as pool:
        results = pool.imap(lambda index: _inspect(dataset, index, load_image), range(len(dataset)))
        for found, counts, size in track(
            results, f'Checking {type(dataset).__name__}', total=len(dataset)
        ):
            sizes[size] += 1
            for name, (path, count, by_class) in counts.items():
                valid[name] += count
                void += [] if count else [path]
                if by_class is not None:
                    seen[name].add(path, by_class)
            for kind, line in found:
                problems.setdefault(kind, []).append(line)
    if void:
        print_log(
            f'{type(dataset).__name__}: {len(void)} labels have no valid pixel and count as none: '
            f'{", ".join(void[:FILES_LISTED])}{", ..." if len(void) > FILES_LISTED else ""}',
            'current',
            logging.WARNING,
        )
    return problems, {} if LABEL_VALUES in problems else seen, valid, sizes


def _inspect(
    dataset: MultiTaskDataset, index: int, load_image: Callable[[dict], dict]
) -> tuple[
    list[tuple[str, str]], dict[str, tuple[str, int, np.ndarray | None]], tuple[int, int] | None
]:
    """(kind of problem, line) of one sample; each task's label: its path, how many valid pixels
    it has, and of each class (256) if it has classes; and the image's size."""
    info = dataset.get_data_info(index)
    found, counts, size = [], {}, None
    try:
        size = load_image(dict(info))['img'].shape[:2]
    except Exception as error:  # each decoder has its own exceptions
        said = reason(error).removeprefix(f'image {info["img_path"]}: ')
        found.append((BAD_IMAGE, f'{info["img_path"]}: {said}'))
    for task in dataset.tasks:
        path = info['label_paths'].get(task.name)
        if path is None:
            continue
        try:
            label = dataset.read_label(task, path)
        except Exception as error:
            found.append((BAD_LABEL, f'{path}: {reason(error)}'))
            continue
        if label is None:
            continue
        by_class = None
        try:
            task.check(label)
            if classes_of(task):
                by_class = np.bincount(label.ravel().astype(int), minlength=256)
        except ValueError as error:
            found.append((LABEL_VALUES, f'{path}: {reason(error)}'))
        if size is not None and label.shape[:2] != size:
            found.append(
                (LABEL_SIZES, f'{path}: {size_text(label.shape[:2])}, its image {size_text(size)}')
            )
        counts[task.name] = path, int(task.valid(label).sum()), by_class
    return found, counts, size


def classes_of(task: Task) -> int:
    """How many classes its labels have; 0 for continuous values."""
    return (
        2
        if isinstance(task, BinaryTask)
        else task.channels
        if isinstance(task, SemanticSegmentation)
        else 0
    )
