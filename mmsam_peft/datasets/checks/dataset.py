"""Looks through whole data sets before training and reports everything wrong with them at once."""
from collections.abc import Iterator, Mapping

from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset

from ...tasks import Task
from ..multi_task import MultiTaskDataset
from .multi_task import multi_task_problems
from .problems import DatasetError, report
from .segmentation import segmentation_problems


def check_dataset(dataset: BaseDataset, num_classes: int | None = None, decode_images: bool = True,
                  tasks: Mapping[str, Task] | None = None) -> None:
    """Reads every image and label with the data set's own loaders, showing progress.

    Args:
        dataset: any ``BaseSegDataset`` or ``MultiTaskDataset``, or wrappers such as ``ConcatDataset`` and ``RepeatDataset``
            around some.
        num_classes: the model's number of classes, compared with the data set's; not for sets of several tasks.
        decode_images: False reads only the headers of the images: faster, but truncated images stay unnoticed; not for sets of
            several tasks.
        tasks: the model's tasks by name, compared with the data set's.

    Raises:
        DatasetError: names each kind of problem, the first files that have it and what to do.
    """
    reports, known = [], set()
    for leaf in inner_datasets(dataset):
        if isinstance(leaf, MultiTaskDataset):
            known.update(task.name for task in leaf.tasks)
            problems = multi_task_problems(leaf, tasks or {})
        else:
            problems = segmentation_problems(leaf, num_classes, decode_images)
        if problems:
            reports.append(report(leaf, problems))
    if lost := [str(task) for name, task in (tasks or {}).items() if name not in known]:
        reports.append(f'tasks of the model that the data does not have: {", ".join(lost)}. List the same tasks in both.')
    if reports:
        raise DatasetError('\n'.join(['the data cannot be used as it is.', *reports]))


def inner_datasets(dataset: BaseDataset) -> Iterator[BaseSegDataset]:
    """The data sets inside of wrappers such as ``ConcatDataset``."""
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from inner_datasets(part)
    elif hasattr(dataset, 'dataset'):
        yield from inner_datasets(dataset.dataset)
    else:
        yield dataset
