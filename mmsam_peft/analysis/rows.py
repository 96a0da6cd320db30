"""Results as lines of text."""

import csv
import io
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]
"""The first is the head."""


def as_csv(rows: Rows) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator='\n').writerows(rows)
    return file.getvalue().encode()


def as_markdown(rows: Rows) -> str:
    head, *others = [f'| {" | ".join(row)} |' for row in rows]
    return '\n'.join([head, '|' + '---|' * len(rows[0]), *others])
