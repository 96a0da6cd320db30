import os.path as osp
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.dataset import BaseDataset

from ..registry import DATASETS
from ..tasks import Task, build_tasks
from .checks.problems import AMBIGUOUS, NO_IMAGE, NO_LABEL, ORPHAN_LABEL, DatasetError
from .files import composed, files_below
from .folder import IMAGE_SUFFIXES
from .labels import DEPTH_UNIT, decode, is_exact, read_array

LABEL_SUFFIXES = ('.png', '.npy', '.mat', '.jpg', '.tif', '.tiff')
PADDED_BY_MMSEG = ('sem_seg', 'edge_map', 'depth_map')
"""Names whose ``gt_NAME`` MMSegmentation's preprocessor would pad with the image."""


class Layout(NamedTuple):
    """Where files are, below ``data_root``; ``{split}`` stands for the split's name, ``{name}`` for
    the task's.

    Args:
        images: folder of the images.
        labels: folders by kind of task (``Task``: any other kind); the first that has an image's
            label counts. Labels and images have equal names.
        names: file that lists the split's names; '' takes all images there are.
        image_suffixes: endings of image files.
    """

    images: str
    labels: dict[type[Task], Sequence[str]]
    names: str = ''
    image_suffixes: Sequence[str] = IMAGE_SUFFIXES


@DATASETS.register_module()
class MultiTaskDataset(BaseDataset):
    """Images with labels of several dense tasks, paired by name without suffix; sub-folders are
    searched too. Hidden files and folders are no data.

    Layout: ``img_dir/<split>/NAME.jpg`` and, for each task, ``<task's name>_dir/<split>/NAME.png``
    (or ``.npy``), of the image's width and height. An image may lack the labels of some tasks. What
    the files hold: see :func:`decode`.

    Args:
        tasks: configs of the tasks, as the model's.
        split: name of the split's folders.
        depth_unit: metres per step of depth stored in whole numbers.
        kwargs: as MMEngine's ``BaseDataset``: data_root, pipeline, metainfo, indices, ...

    Attributes:
        problems: what does not pair up, for :func:`check_dataset`.

    Raises:
        ValueError: no task, two of one name, or a name that MMSegmentation or the folder of the
            images has.
        DatasetError: no images, or a task without labels.
    """

    layout = Layout('img_dir/{split}', {Task: ['{name}_dir/{split}']})
    ignore_index = 255

    def __init__(
        self, tasks: Sequence[dict], split: str = 'train', depth_unit: float = DEPTH_UNIT, **kwargs
    ) -> None:
        self.tasks = build_tasks(tasks)
        self.split, self.depth_unit = split, depth_unit
        self.problems: dict[str, list[str]] = {}
        if taken := {task.name for task in self.tasks} & set(PADDED_BY_MMSEG):
            raise ValueError(
                f'got a task named {", ".join(taken)}, which MMSegmentation uses for its own '
                'label: rename it'
            )
        super().__init__(
            data_prefix=dict(img_path=self.layout.images.format(split=split)), **kwargs
        )

    def load_data_list(self) -> list[dict]:
        images = self._find([self.layout.images], self.layout.image_suffixes)
        labels = {
            task.name: self._find(self._folders(task), LABEL_SUFFIXES, task) for task in self.tasks
        }
        names = sorted(images, key=_natural)
        if self.layout.names:
            path = Path(self.data_root, self.layout.names.format(split=self.split))
            listed = [
                composed(line.strip())
                for line in path.read_text('utf-8-sig').splitlines()
                if line.strip()
            ]
            names = [name for name in listed if name in images]
            self._note(NO_IMAGE, [f'{name} of {path}' for name in listed if name not in images])
        else:
            self._note(
                ORPHAN_LABEL,
                [paths[name] for paths in labels.values() for name in paths if name not in images],
            )
        samples = [
            dict(
                img_path=images[name],
                label_paths={task: paths[name] for task, paths in labels.items() if name in paths},
            )
            for name in names
        ]
        self._note(
            NO_LABEL, [sample['img_path'] for sample in samples if not sample['label_paths']]
        )
        return samples

    def get_data_info(self, idx: int) -> dict:
        return super().get_data_info(idx) | dict(tasks=self.tasks, read_label=self.read_label)

    def read_label(self, task: Task, path: str) -> np.ndarray | None:
        """The label (H, W, c) in a file, None when it says that there is none."""
        return decode(task, read_array(path, is_exact(task)), self.depth_unit)

    def _folders(self, task: Task) -> Sequence[str]:
        folders = self.layout.labels.get(type(task), self.layout.labels.get(Task))
        if folders is None:
            kinds = ', '.join(kind.__name__ for kind in self.layout.labels)
            raise ValueError(
                f'got {task}, but {type(self).__name__} has labels for {kinds} only: correct tasks'
            )
        if self.layout.images in [
            folder.format(split='{split}', name=task.name) for folder in folders
        ]:
            raise ValueError(
                f'got {task}, whose labels would be the images in {self.layout.images}: rename it'
            )
        return folders

    def _find(
        self, folders: Sequence[str], suffixes: Sequence[str], task: Task | None = None
    ) -> dict[str, str]:
        """Name without suffix -> path of the images, or of a task's labels. DatasetError when there
        is none."""
        places = [
            Path(self.data_root, folder.format(split=self.split, name=task and task.name))
            for folder in folders
        ]
        found = {}
        for place in reversed(places):
            paths = defaultdict(list)
            for file in files_below(place) if place.is_dir() else ():
                name, suffix = osp.splitext(file)
                if suffix.lower() in suffixes:
                    paths[composed(name)].append(str(place / file))
            self._note(AMBIGUOUS, [', '.join(same) for same in paths.values() if len(same) > 1])
            found.update((name, same[0]) for name, same in paths.items())
        if found:
            return found
        what = f'labels of {task}' if task else 'images'
        got = ', '.join(
            f'{place.absolute()}: no such {"file in it" if place.is_dir() else "folder"}'
            for place in places
        )
        raise DatasetError(
            f'the data set has no {what}.\n'
            f'    got       {got}\n'
            f'    expected  files ending in {" ".join(suffixes)}\n'
            f'    do        put the {what} there, or correct data_root, '
            f'split{" and tasks" if task else ""}'
        )

    def _note(self, kind: str, lines: list[str]) -> None:
        if lines:
            self.problems.setdefault(kind, []).extend(lines)


def _natural(name: str) -> list:
    """So that 10 comes after 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]
