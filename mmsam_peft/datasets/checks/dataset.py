"""Looks through whole data sets before training and reports everything wrong with them at once."""

from collections import Counter
from collections.abc import Iterator, Mapping

from mmengine.dataset import BaseDataset
from mmseg.datasets import BaseSegDataset

from ...tasks import Task
from ..multi_task import MultiTaskDataset
from .classes import ClassesSeen
from .multi_task import multi_task_problems
from .problems import NOTHING_VALID, DatasetError, report
from .segmentation import segmentation_problems
from .summary import summary_of


def check_dataset(
    dataset: BaseDataset,
    num_classes: int | None = None,
    decode_images: bool = True,
    tasks: Mapping[str, Task] | None = None,
    training: bool = True,
) -> dict:
    """Reads every image and label with the data set's own loaders, showing progress.

    Args:
        dataset: any ``BaseSegDataset`` or ``MultiTaskDataset``, or wrappers such as
            ``ConcatDataset`` and ``RepeatDataset`` around some.
        num_classes: the model's number of classes, compared with the data set's; not for sets of
            several tasks.
        decode_images: False reads only the headers of the images: faster, but truncated images stay
            unnoticed; not for sets of several tasks.
        tasks: the model's tasks by name, compared with the data set's.
        training: whether the set is trained on; one that shows nothing but the first class is then
            an error, otherwise a warning. The parts of a wrapper count together.

    Returns:
        What there is, as plain JSON: see ``summary_of``.

    Raises:
        DatasetError: names each kind of problem, the first files that have it and what to do.
    """
    found, known, seen, valid, sizes, names = [], {}, {}, Counter(), Counter(), {}
    for leaf in inner_datasets(dataset):
        if isinstance(leaf, MultiTaskDataset):
            known.update(dict.fromkeys(task.name for task in leaf.tasks))
            problems, classes, pixels, of_size = multi_task_problems(leaf, tasks or {})
            valid += pixels
            names |= {task.name: getattr(task, 'classes', None) for task in leaf.tasks}
        else:
            problems, classes, of_size = segmentation_problems(leaf, num_classes, decode_images)
            names[''] = leaf.metainfo.get('classes')
        sizes.update(of_size)
        found.append((leaf, problems))
        _join(seen, classes)
    together = [
        one.problems(training) for name, one in seen.items() if name not in known or valid[name]
    ]
    if empty := [name for name in known if not valid[name]]:
        together.append({NOTHING_VALID: empty})
    for kind, lines in (item for problems in together for item in problems.items()):
        found[-1][1].setdefault(kind, []).extend(lines)
    reports = [report(leaf, problems) for leaf, problems in found if problems]
    if lost := [str(task) for name, task in (tasks or {}).items() if name not in known]:
        reports.append(
            f'tasks of the model that the data does not have: {", ".join(lost)}. List the same '
            'tasks in both.'
        )
    if reports:
        raise DatasetError('\n'.join(['the data cannot be used as it is.', *reports]))
    return summary_of(sizes, seen, names)


def _join(seen: dict[str, ClassesSeen], classes: Mapping[str, ClassesSeen]) -> None:
    """Adds what a part of the set shows, by task, to what the parts before did."""
    for name, one in classes.items():
        if name in seen:
            seen[name].join(one)
        else:
            seen[name] = one


def inner_datasets(dataset: BaseDataset) -> Iterator[BaseSegDataset]:
    """The data sets inside of wrappers such as ``ConcatDataset``."""
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from inner_datasets(part)
    elif hasattr(dataset, 'dataset'):
        yield from inner_datasets(dataset.dataset)
    else:
        yield dataset
