"""AutoGluon's archives of data sets: tables of images and masks."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

from .checks.problems import DatasetError, short

COLUMNS = ('image', 'label')


def unpack_csv(archive: Path, out: Path, tests: Sequence[str] = ()) -> dict[str, int]:
    """Copies an archive's images and masks into ``img_dir`` and ``ann_dir``, and returns how many
    images each split has, ``test/NAME`` for the tables ``test_NAME.csv``.

    Args:
        archive: holds ``train.csv``, ``val.csv`` and ``test*.csv`` with the columns image and
            label: paths below the archive, or below the folder that it lies in.
        tests: the test sets to take, by the names they get: ``'CVC-612=CVC-ClinicDB'`` takes
            ``test_CVC-ClinicDB.csv``. Default: all there are.

    Raises:
        DatasetError: no tables, other columns, files that are missing, or two files of one name.
    """
    wanted = dict(name.rpartition('=')[::2] if '=' in name else (name, name) for name in tests)
    tables = {}
    for path in sorted(archive.glob('*.csv')):
        split, _, name = path.stem.partition('_')
        if split not in ('train', 'val', 'test'):
            continue
        if not tests or not name or name in wanted.values():
            known = {table: new for new, table in wanted.items()}
            tables[f'{split}/{known.get(name, name)}'.rstrip('/')] = path
    if 'train' not in tables:
        raise DatasetError(
            f'got no train.csv in {archive.absolute()}, expected train.csv, val.csv and test*.csv: '
            'name the folder that they lie in'
        )
    if missing := [
        f'test_{table}.csv'
        for table in wanted.values()
        if not (archive / f'test_{table}.csv').is_file()
    ]:
        raise DatasetError(f'got no {", ".join(missing)} in {archive.absolute()}')
    pairs = {split: _pairs(path, archive) for split, path in tables.items()}
    for split, found in pairs.items():
        for name, (image, mask) in found.items():
            for folder, file in (('img_dir', image), ('ann_dir', mask)):
                place = out / folder / split / f'{name}{file.suffix.lower()}'
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)
    return {split: len(found) for split, found in pairs.items()}


def _pairs(table: Path, archive: Path) -> dict[str, tuple[Path, Path]]:
    """Image and mask by name; two of one name get their folders' names before it."""
    with table.open(newline='', encoding='utf-8-sig') as file:
        reader = csv.DictReader(file)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise DatasetError(
                f'{table}: got the columns {short(", ".join(reader.fieldnames or ["none"]))}, '
                f'expected {" and ".join(COLUMNS)}'
            )
        rows = [tuple(row[column] for column in COLUMNS) for row in reader]
    files = [tuple(_found(path, archive) for path in row) for row in rows]
    lost = [
        path
        for row, found in zip(rows, files, strict=True)
        for path, file in zip(row, found, strict=True)
        if file is None
    ]
    if lost:
        raise DatasetError(
            f'{table}: got {len(lost)} files that are not there, the first {short(lost[0])}, '
            f'expected all below {archive.absolute()}: unpack the archive again'
        )
    stems = [image.stem for image, _ in files]
    named: dict[str, tuple[Path, Path]] = {}
    for image, mask in files:
        name = (
            image.stem
            if stems.count(image.stem) == 1
            else f'{image.parent.parent.name}_{image.parent.name}_{image.stem}'
        )
        if name in named:
            raise DatasetError(f'{table}: got {image} twice, expected each image once')
        named[name] = image, mask
    return named


def _found(path: str, archive: Path) -> Path | None:
    return next(
        (file for file in (archive / path, archive.parent / path) if path and file.is_file()), None
    )
