"""What has become of each image of a job, in files that each have one writer, so that any number of
processes can write and any later job can go on."""

import csv
import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .stores import Folder, Image

PLACE, TABLE = 'manifest', 'manifest.csv'
DONE, FAILED = 'done', 'failed'
SECONDS, ROWS = 2.0, 1000
"""After which a writer's file is written again; after which it begins another."""


class Row(NamedTuple):
    """An image that was predicted, or failed."""

    image: str
    """Its path below the folder that is predicted."""
    mask: str
    status: str
    seconds: float
    """Of reading, computing, in a batch its part, and writing."""
    error: str
    state: str
    """Of the image when it was read."""
    at: float
    """The time, in seconds since 1970."""


def read_rows(
    out: Folder, made_by: str | None = None, wanted: Callable[[str], bool] = lambda _: True
) -> dict[str, Row]:
    """The newest row of each image whose name is ``wanted``.

    Raises:
        FileExistsError: Rows of another model, or of other settings, than ``made_by``.
    """
    rows: dict[str, Row] = {}
    for name in sorted(out.files(PLACE)):
        if not name.endswith('.jsonl'):
            continue
        head, *lines = _lines(out.read(name)) or [{}]
        if made_by is not None and head.get('made_by', made_by) != made_by:
            raise FileExistsError(
                f'{out.address}/{name} is of another model, or of other settings: two jobs wrote '
                'into one folder. Give another folder.'
            )
        for row in map(Row._make, lines):
            newer = row.image not in rows or rows[row.image].at <= row.at
            if newer and wanted(row.image):
                rows[row.image] = row
    return rows


def _lines(content: bytes | None) -> list:
    """What of a file is whole; a power cut may have left less than all."""
    lines = []
    for line in (content or b'').splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


class Writer:
    """The rows of one process. A killed one loses those of its last two seconds."""

    def __init__(self, out: Folder, made_by: str, part: int) -> None:
        self.out, self.made_by = out, made_by
        self.label, self.number = f'{part:05d}-{uuid.uuid4().hex[:8]}', 0
        self.rows: list[Row] = []
        self.written = time.monotonic()

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if time.monotonic() - self.written >= SECONDS or len(self.rows) >= ROWS:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            lines = [dict(made_by=self.made_by), *map(list, self.rows)]
            text = ''.join(f'{json.dumps(line)}\n' for line in lines)
            self.out.write(f'{PLACE}/{self.label}-{self.number:05d}.jsonl', text.encode())
        if len(self.rows) >= ROWS:
            self.rows, self.number = [], self.number + 1
        self.written = time.monotonic()

    def __enter__(self) -> 'Writer':
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()


def merge(out: Folder, images: Iterable[Image]) -> Counter:
    """Writes ``manifest.csv``, a line for each image, and counts them by their status, 'missing'
    included."""
    rows, counts = read_rows(out), Counter()
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(('image', 'mask', 'status', 'seconds', 'error'))
    for image in images:
        row = rows.get(image.below)
        status = row.status if row and row.state == image.state else 'missing'
        counts[status] += 1
        known = row if row and status != 'missing' else None
        seconds, error = (f'{known.seconds:.3f}', known.error) if known else ('', '')
        mask = known.mask if known and status == DONE else ''
        table.writerow((image.below, mask, status, seconds, error))
    out.write(TABLE, text.getvalue().encode(errors='surrogateescape'))
    return counts
