"""Results as lines of text."""

import csv
import io
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]
"""The first is the head."""


def as_csv(rows: Rows) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator='\n').writerows(rows)
    return file.getvalue()


def as_markdown(rows: Rows) -> str:
    head, *others = map(markdown_line, rows)
    return '\n'.join([head, '|' + '---|' * len(rows[0]), *others])


def markdown_line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |'
