"""Which files of annotations belong to a set: one, or one for each part of the split."""

from pathlib import Path

from ..checks.problems import DatasetError
from ..files import files_below
from ..labels import Annotations, find_annotations
from ..labels.find import json_kind
from ..labels.voc import CLASS, OBJECT
from .words import SPLIT_WORDS, words_of


def find_parts(images: Path, labels: Path | None) -> dict[str | None, Annotations]:
    """The annotations of a set, by part: of files such as instances_train.json, or
    valid/_annotations.coco.json, each; else all as one, by None.

    Raises:
        DatasetError: there are none, or of no known format.
    """
    place = labels or images
    if place.is_dir():
        named: dict[str, list[Path]] = {}
        for file in files_below(place):
            if file.endswith('.json') and json_kind(place / file) == 'coco':
                parts = {SPLIT_WORDS[word] for word in words_of(file) if word in SPLIT_WORDS}
                if len(parts) == 1:
                    named.setdefault(parts.pop(), []).append(place / file)
        if len(named) > 1:
            several = [files for files in named.values() if len(files) > 1]
            if several:
                raise DatasetError(
                    f'got {several[0][0]} and {several[0][1].name} for one part, expected one '
                    'file for each: name the file to use'
                )
            beside = None if labels is None else images
            return {part: find_annotations(files[0], beside) for part, files in named.items()}
    return {None: find_annotations(place, None if labels is None else images)}


def may_be_masks(images: Path, labels: Path | None) -> bool:
    """Whether mask files are to be looked for: not where there is a file of annotations, or VOC's
    folders, whose format says what the classes are called."""
    place = labels or images
    if not place.is_dir():
        return not place.exists()  # which is said there
    files = files_below(place)
    if {CLASS, OBJECT} & {part for file in files for part in (place / file).parts[:-1]}:
        return False
    suffixes = {Path(file).suffix.lower() for file in files}
    return labels is None or not suffixes & {'.json', '.xml', '.yaml', '.yml'}
