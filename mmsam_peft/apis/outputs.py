"""A folder of predictions that knows what is in it, so that a run can go on where it was
stopped."""

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from mmseg.models import BaseSegmentor

from ..datasets.files import RECORD, folders_of
from ..hashing import checksum
from ..version import __version__
from ..whole_files import write_whole

SUFFIXES = ('.png', '.npy', '.geojson', '.json')
"""Of all files of predictions."""


class OutputFolder:
    """Files of predictions below a folder, FOLDER/NAME, complete or not there, and their record:
    in ``RECORD`` a line for the folder, then one for each image before its files are written, and
    one after.

    Args:
        folders: Names of the folders, each with the suffix of its files.
        made_by: What the predictions depend on, see :func:`fingerprint`.
        images: Names of the predictions by image.
        overwrite: Remove first what earlier runs wrote.

    Raises:
        FileExistsError: Files that are in the way: predictions of another model, of other images,
            or no predictions of ours.
        ValueError: An output would replace one of the images.
    """

    def __init__(
        self,
        place: Path,
        folders: Mapping[str, str],
        made_by: str,
        images: Mapping[Path, Path],
        overwrite: bool = False,
    ) -> None:
        self.place, self.folders, self.images = place, folders, images
        self.lock, self.known = threading.Lock(), {}
        self.written: set[Path] = set()
        self.states = {image: _state(image) for image in images}  # before any is read
        self._refuse_to_replace_images()
        if overwrite:
            self._remove_recorded()
        elif (place / RECORD).exists():
            self._read(made_by)
        if not overwrite:
            self._refuse_to_replace_others()
        if not (place / RECORD).exists():
            head = dict(made_by=made_by, folders=list(folders))
            write_whole(place / RECORD, f'{json.dumps(head)}\n'.encode())

    def paths(self, name: Path) -> dict[str, Path]:
        """The files of a prediction, by folder."""
        return {
            folder: (self.place / folder / name).with_suffix(suffix)
            for folder, suffix in self.folders.items()
        }

    def has(self, image: Path) -> bool:
        """Whether the prediction of the image, as the image is now, is complete."""
        name = self.images[image]
        return self.known.get(name.as_posix()) == [self.states[image], True] and all(
            path.is_file() for path in self.paths(name).values()
        )

    def is_complete(self, image: Path) -> bool:
        """Whether ``has``, or this run has written it."""
        return self.has(image) or image in self.written

    def remove(self, image: Path) -> None:
        """Removes what an earlier run made of an image that can no longer be predicted."""
        if self.images[image].as_posix() in self.known:
            for path in self.paths(self.images[image]).values():
                path.unlink(missing_ok=True)

    def note(self, image: Path, complete: bool) -> None:
        """Records that an image's files will be written, or are written. Threads may call it."""
        line = dict(name=self.images[image].as_posix(), image=self.states[image], complete=complete)
        with self.lock, open(self.place / RECORD, 'a') as file:
            file.write(f'{json.dumps(line)}\n')
        if complete:
            self.written.add(image)

    def _read(self, made_by: str) -> None:
        head, *lines = _lines(self.place) or [{}]
        if head.get('made_by') != made_by:
            raise FileExistsError(
                f'{self.place} holds predictions of another model, or with other settings. Give '
                'another '
                'folder, or remove them: --overwrite (overwrite=True).'
            )
        self.known = {
            line['name']: [line['image'], line['complete']] for line in lines if 'name' in line
        }
        text = (self.place / RECORD).read_bytes()
        if not text.endswith(b'\n'):  # a run was stopped while it wrote a line
            write_whole(self.place / RECORD, text + b'\n')

    def _refuse_to_replace_images(self) -> None:
        images = {os.path.realpath(image): image for image in self.images}
        for name in self.images.values():
            for path in self.paths(name).values():
                if os.path.realpath(path) in images:
                    raise ValueError(
                        f'The prediction {path} would replace an image that is to be predicted: '
                        'give another '
                        'folder for the outputs.'
                    )

    def _refuse_to_replace_others(self) -> None:
        for image, name in self.images.items():
            known = self.known.get(name.as_posix())
            if known and known[0][0] != os.path.abspath(image):
                raise FileExistsError(
                    f'{self.place} holds the prediction {name} of another image, {known[0][0]}. '
                    'Give '
                    'another folder, or remove it: --overwrite (overwrite=True).'
                )
            there = (
                None
                if known
                else next((path for path in self.paths(name).values() if path.exists()), None)
            )
            if there:
                raise FileExistsError(
                    f'{there} is there already, and {RECORD} beside its folder does not list it. '
                    'Give '
                    'another folder, or replace such files: --overwrite (overwrite=True).'
                )

    def _remove_recorded(self) -> None:
        head, *lines = _lines(self.place) or [{}]
        for folder in folders_of(head):
            for name in {line['name'] for line in lines if 'name' in line}:
                for suffix in SUFFIXES:
                    path = (self.place / folder / name).with_suffix(suffix)
                    if self.place.resolve() in path.resolve().parents:  # whatever the record says
                        path.unlink(missing_ok=True)
        (self.place / RECORD).unlink(missing_ok=True)


def fingerprint(model: BaseSegmentor, **settings) -> str:
    """Of everything that predictions depend on: weights, config, classes and settings."""
    about = dict(
        version=__version__,
        pipeline=model.cfg.test_pipeline,
        model=dict(model.cfg.model, checkpoint=None),
        meta=model.dataset_meta,
        **settings,
    )
    sums = {name: checksum(value) for name, value in model.state_dict().items()}
    text = json.dumps([about, sums], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _state(image: Path) -> list:
    """Another one when the image changes."""
    try:
        status = image.stat()
    except OSError:  # such as a link to nothing; reading it will say so
        return [os.path.abspath(image)]
    return [os.path.abspath(image), status.st_size, status.st_mtime_ns]


def _lines(place: Path) -> list[dict]:
    """The lines of a folder's record, those that were not written whole as empty dicts."""
    try:
        with open(place / RECORD, 'rb') as file:
            return [_parsed(line) for line in file]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _parsed(line: bytes) -> dict:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
