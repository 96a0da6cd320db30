"""Which files below a folder are data."""

import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import mmengine.fileio as fileio
from mmengine.fileio import LocalBackend

RECORD = 'predictions.jsonl'
"""Beside the folders that hold predictions. Its first line says what made them, and names these
folders."""


def files_below(folder: str | Path, backend_args: dict | None = None) -> list[str]:
    """Paths, relative to the folder and with '/', of all files in it and its sub-folders, in order.

    Hidden files and folders (``._a.png``, ``.ipynb_checkpoints``) and ``__MACOSX`` are no data. Nor
    is what ``tools/predict.py`` wrote somewhere below: overlays are no images, and predictions no
    labels unless somebody names their folder. Links to folders are followed, but never back into a
    folder that they lie in.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if isinstance(fileio.get_file_backend(folder, backend_args=backend_args), LocalBackend):
        found = _but_predictions(Path(folder), list(_local(Path(folder))))
    else:
        found = fileio.list_dir_or_file(
            folder, list_dir=False, recursive=True, backend_args=backend_args
        )
    return sorted(file for file in found if not any(map(is_hidden, file.split('/'))))


def _but_predictions(folder: Path, files: list[str]) -> list[str]:
    places = [x.removesuffix(RECORD) for x in files if x.rpartition('/')[2] == RECORD]
    ours = {x: names for x in places if (names := recorded_folders(folder / x))}
    predicted = tuple(f'{x}{name}/' for x, names in ours.items() for name in names)
    beside = {x + name for x in ours for name in (RECORD, 'instances.json')}
    return [file for file in files if not (file in beside or file.startswith(predicted))]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none that a person put there."""
    return name.startswith('.') or name == '__MACOSX'


def recorded_folders(place: Path) -> set[str]:
    """The folders of predictions below a folder."""
    try:
        with open(place / RECORD, 'rb') as file:
            return folders_of(head_of(file.readline()))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def head_of(record: bytes | None) -> dict:
    """The first line of a record, which says what made the predictions; empty where there is
    none."""
    try:
        head = json.loads((record or b'').splitlines()[0])
    except (ValueError, IndexError):
        return {}
    return head if isinstance(head, dict) else {}


def folders_of(head: dict) -> set[str]:
    """The folders that the first line of a record names; none where it is another program's."""
    folders = head.get('folders')
    return set(folders) if 'made_by' in head and isinstance(folders, list) else set()


def composed(name: str) -> str:
    """The name with each letter and its accents as one character: systems store the same name in
    two ways."""
    return unicodedata.normalize('NFC', name)


def _local(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    yield from _walk(folder, '', {os.path.realpath(folder)})


def _walk(folder: Path, inside: str, parents: set[str]) -> Iterator[str]:
    """``parents``: the real places of the folder and of those that it lies in."""
    for entry in os.scandir(folder):
        name = inside + entry.name
        if entry.is_file() or not os.path.exists(
            entry.path
        ):  # a dead link is a file that is missed
            yield name
        elif entry.is_dir() and not is_hidden(entry.name):
            place = os.path.realpath(entry.path)
            if place not in parents:
                yield from _walk(Path(entry.path), f'{name}/', parents | {place})
