"""What is wrong with a set of several tasks, for :func:`check_dataset`."""
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from multiprocessing.pool import ThreadPool

from mmcv.transforms import LoadImageFromFile
from mmengine.logging import print_log
from rich.progress import track

from ...tasks import Task
from ...tasks.semantic import SemanticSegmentation
from ..multi_task import MultiTaskDataset
from ..transforms.loading import LoadImageOrArray
from .loaders import THREADS, loader_of
from .problems import (
    BAD_IMAGE,
    BAD_LABEL,
    CLASSES,
    FILES_LISTED,
    LABEL_SIZES,
    LABEL_VALUES,
    NOTHING_VALID,
    TASKS,
    reason,
    size_text,
)


def multi_task_problems(dataset: MultiTaskDataset, in_model: Mapping[str, Task]) -> dict[str, list[str]]:
    """Reads every image and label: kind of problem -> one line for each file that has it.

    A label without one valid pixel is as good as none: a warning, unless its task has no other.
    """
    load_image = loader_of(dataset, LoadImageOrArray, LoadImageFromFile)
    dataset.full_init()
    problems, valid, void = {kind: list(lines) for kind, lines in dataset.problems.items()}, Counter(), []
    classes = dataset.metainfo.get('classes')
    for task in dataset.tasks:
        if classes and type(task) is SemanticSegmentation and task.channels != len(classes):
            problems.setdefault(CLASSES, []).append(
                f"{len(classes)} in the data set ({', '.join(classes)}), {task.channels} in the task '{task.name}'")
        other = in_model.get(task.name, task)
        if (type(other), other.channels) != (type(task), task.channels):
            problems.setdefault(TASKS, []).append(
                f'{task} of {task.channels} channels in the data set, {other} of {other.channels} in the model')
    with ThreadPool(THREADS) as pool:
        results = pool.imap(lambda index: _inspect(dataset, index, load_image), range(len(dataset)))
        for found, counts in track(results, f'Checking {type(dataset).__name__}', total=len(dataset)):
            valid.update({name: count for name, (_, count) in counts.items()})
            void += [path for path, count in counts.values() if not count]
            for kind, line in found:
                problems.setdefault(kind, []).append(line)
    if void:
        print_log(f'{type(dataset).__name__}: {len(void)} labels have no valid pixel and count as none: '
                  f'{", ".join(void[:FILES_LISTED])}{", ..." if len(void) > FILES_LISTED else ""}', 'current', logging.WARNING)
    empty = [task.name for task in dataset.tasks if not valid[task.name]]
    return problems | ({NOTHING_VALID: empty} if empty else {})


def _inspect(dataset: MultiTaskDataset, index: int,
             load_image: Callable[[dict], dict]) -> tuple[list[tuple[str, str]], dict[str, tuple[str, int]]]:
    """(kind of problem, line) of one sample, and each task's label: its path and how many valid pixels it has."""
    info = dataset.get_data_info(index)
    found, counts, size = [], {}, None
    try:
        size = load_image(dict(info))['img'].shape[:2]
    except Exception as error:  # each decoder has its own exceptions
        found.append((BAD_IMAGE, f'{info["img_path"]}: {reason(error)}'))
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
        try:
            task.check(label)
        except ValueError as error:
            found.append((LABEL_VALUES, f'{path}: {reason(error)}'))
        if size is not None and label.shape[:2] != size:
            found.append((LABEL_SIZES, f'{path}: {size_text(label.shape[:2])}, its image {size_text(size)}'))
        counts[task.name] = path, int(task.valid(label).sum())
    return found, counts
