"""Writes what was chosen as a config of few lines, and the split as lists of files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.checks.problems import DatasetError
from ..datasets.survey.pairs import Pair
from ..whole_files import write_whole

HERE = '{{ fileDirname }}'
"""What MMEngine replaces by the folder of the config: the config works from any other folder, and
goes on to work when it is moved together with the data."""


ROW = 82
"""Letters of a line of ``data``."""


def place_of(path: Path, folder: Path) -> str:
    """How a config in ``folder`` names a path: from itself on, if the two have a folder in common
    that is not the root of all, else absolutely."""
    path, folder = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    common = Path(os.path.commonpath([path, folder]))
    quotable = not any(mark in str(folder) for mark in '\'"\\{}')
    if common == Path(common.anchor) or not quotable:
        return path.as_posix()
    return f'{HERE}/{Path(os.path.relpath(path, folder)).as_posix()}'


def list_of(pairs: Sequence[Pair], images: Path, masks: Path | None) -> str:
    """A line for each image, below ``images``, and with a tab between its mask, below ``masks``.

    Raises:
        DatasetError: a name that no line can hold.
    """
    lines = []
    for pair in pairs:
        names = [_below(pair.image, images)]
        if masks is not None:
            names.append(_below(pair.mask, masks))
        if any(mark in name for name in names for mark in '\t\r\n'):
            raise DatasetError(f'got the name {names[0]!r}, expected one without tabs: rename it')
        lines.append('\t'.join(names))
    return '\n'.join(lines) + '\n'


def _below(path: Path, folder: Path) -> str:
    return Path(os.path.abspath(path)).relative_to(folder).as_posix()


def config_text(
    heading: Sequence[str],
    base: str,
    base_reason: str,
    data: Mapping[str, Any],
    data_reason: str,
    parts: Mapping[str, tuple[Mapping[str, Any], str]],
    settings: Sequence[tuple[Mapping[str, Any], str]],
) -> str:
    """The config's text.

    Args:
        heading: comments at the top.
        parts: what the data set of a part has beside ``data``, and a comment: of train, val, test.
        settings: variables with the reason for their values.
    """
    lines = [f'# {line}' for line in heading]
    lines.append(_commented(f'_base_ = {base!r}', base_reason))
    rows = _rows([f'{key}={_written(value)}' for key, value in data.items()])
    rows = [f'data = dict({rows[0]}', *(f'    {row}' for row in rows[1:])]
    lines += [f'{row},' for row in rows[:-1]]
    lines.append(_commented(f'{rows[-1]})', data_reason))
    for part, (own, words) in parts.items():
        inner = ', '.join(f'{key}={_written(value)}' for key, value in own.items())
        lines.append(_commented(f'{part}_dataloader = dict(dataset=dict(data, {inner}))', words))
    for values, reason in settings:
        code = f'{", ".join(values)} = {", ".join(map(_written, values.values()))}'
        lines.append(_commented(code, reason))
    return '\n'.join(lines) + '\n'


def _rows(items: Sequence[str]) -> list[str]:
    """Items on as few lines as they need; a long one has its own."""
    rows: list[str] = []
    for item in items:
        if rows and len(rows[-1]) + len(item) <= ROW:
            rows[-1] += f', {item}'
        else:
            rows.append(item)
    return rows


def _commented(code: str, comment: str) -> str:
    return f'{code}  # {comment}' if comment else code


def _written(value: Any) -> str:
    """A value as one writes it in a config: dicts by ``dict(...)`` where they can be."""
    if isinstance(value, Mapping) and all(str(key).isidentifier() for key in value):
        return f'dict({", ".join(f"{key}={_written(item)}" for key, item in value.items())})'
    if isinstance(value, tuple | list):
        inner = ', '.join(map(_written, value))
        if isinstance(value, list):
            return f'[{inner}]'
        return f'({inner},)' if len(value) == 1 else f'({inner})'
    return repr(value)


def require_new(files: Mapping[Path, str]) -> None:
    """Raises FileExistsError where a file is there already, and holds something else."""
    there = [
        path for path, text in files.items() if path.exists() and path.read_text('utf-8') != text
    ]
    if there:
        raise FileExistsError(
            f'{there[0]} is there already and would be changed. Keep it, and give another --out; '
            'or replace it: --overwrite.'
        )


def write_new(files: Mapping[Path, str], replace: bool) -> None:
    """Writes files, all of them or none where one is there already.

    Raises:
        FileExistsError: one is there, and holds something else.
        OSError: the folder cannot be written.
    """
    if not replace:
        require_new(files)
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
