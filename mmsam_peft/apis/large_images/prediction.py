"""From a large image to a mask of its size, in little memory."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.logging import MMLogger, print_log
from torch import nn

from ..console import Console
from ..outputs import fingerprint
from ..prediction import prefetch
from ..screen import duration
from .files import made_by_of, write_mask
from .network import NOTHING, Network
from .opening import open_large
from .polygons import SUFFIXES, require_polygons, write_polygons
from .source import LargeImage, needed
from .strips import Strips
from .sums import Sums
from .windows import Window, Windows

SHOWN = 0.5, 30
"""A line of progress every so many seconds on a terminal, and elsewhere."""


class Settings(NamedTuple):
    """What a mask depends on, beside model and image.

    Args:
        window: Side, or (height, width), in pixels of the picture as the model's test pipeline
            scales it; None: the model's own.
        stride: From window to window; None: the model's own, else two thirds of the window.
        bands: Of the file, in place of those of training; the first is 1.
        task: Of a model of several.
        threshold: Of the foreground's probability, for models of one class; None: the model's own.
        amp: Compute in bfloat16.
    """

    window: int | Sequence[int] | None = None
    stride: int | Sequence[int] | None = None
    bands: Sequence[int] | None = None
    task: str | None = None
    threshold: float | None = None
    amp: bool = False


DEFAULT = Settings()


def predict_large(
    model: nn.Module,
    image: str | Path,
    out_dir: str | Path,
    settings: Settings = DEFAULT,
    batch_size: int | None = None,
    polygons: str | None = None,
    min_area: int = 0,
    cog: bool = False,
    overwrite: bool = False,
) -> Path:
    """Predicts an image of any size and writes ``out_dir/NAME.tif``: class numbers, 255 where the
    file has no image, as a tiled GeoTIFF with the image's georeference, palette and classes; for
    microscopy ``NAME.ome.tif`` with the size of a pixel. Returns its path.

    Where windows overlap, their logits are averaged, as MMSegmentation's sliding windows do. Of
    the image a few windows are in memory, of the logits what further windows will add to, at most
    256 MiB; the rest of that is in a temporary file in ``out_dir``. Windows without any image are
    passed over.

    A run that was killed goes on with the row of windows in which it was; finished rows lie in
    ``out_dir/NAME.unfinished``. A mask is there completely or not at all, and one that is there
    already is left as it is.

    Args:
        batch_size: Windows at a time; by default 1 on a CPU and 4 elsewhere.
        polygons: 'geojson' or 'gpkg': also write ``NAME.geojson`` or ``NAME.gpkg``.
        min_area: In pixels; smaller polygons are left out.
        cog: Write a Cloud Optimized GeoTIFF, with overviews.
        overwrite: Replace a mask that is there.

    Raises:
        FileNotFoundError: No such image.
        FileExistsError: A mask of another model, image or setting is there; another process is at
            work on it.
        ImportError: An optional package is not there.
        ValueError: The image is not one that the model can be given; settings that cannot be.
        OSError: A file cannot be read or written.
    """
    rasterio = needed('rasterio')
    source = open_large(image)
    try:
        network = Network(model, settings.task, settings.threshold, settings.amp)
        windows = Windows(model, source, settings.window, settings.stride, settings.bands)
        batch_size = _batch_size(batch_size, network)
        georeference = source.output()
        if polygons:
            require_polygons(
                polygons, georeference.get('transform') and georeference['crs'], source.path
            )
        if cog and source.microscopy:
            raise ValueError(f'{image}: a COG is a GeoTIFF, which is not made of microscopy.')
        made_by = _made_by(model, source, settings, cog)
        mask = _mask_path(source, Path(out_dir))
        cache = source.cache(windows.rows.window) if hasattr(source, 'cache') else 64
        out = mask.with_name(_stem(mask) + SUFFIXES.get(polygons, ''))
        if polygons and out.exists() and not (overwrite or mask.exists()):
            raise FileExistsError(
                f'{out} is there already, without the mask that it would be of. Give another '
                'folder, or replace it: --overwrite (overwrite=True).'
            )
        with rasterio.Env(GDAL_CACHEMAX=cache):
            if overwrite or not _is_there(mask, made_by):
                _require_other_file(mask, source.path)
                strips = Strips(
                    mask.with_name(f'{mask.name}.unfinished'), made_by, source.header.size[1]
                )
                try:
                    _predict(network, windows, strips, batch_size)
                    write_mask(strips, source, network, mask, made_by, cog)
                    strips.remove()
                finally:
                    strips.close()
            if polygons:
                number = write_polygons(
                    mask, out, polygons, network.classes, network.background, min_area
                )
                print_log(f'{out}: {number} polygons', 'current')
        return mask
    finally:
        source.close()


def _predict(network: Network, windows: Windows, strips: Strips, batch_size: int) -> None:
    """Adds to ``strips`` what is missing of the rows."""
    done, rows = strips.done, windows.rows
    if done == rows.pixels:
        return
    if done:
        print_log(f'{strips.folder}: goes on after {done} of {rows.pixels} rows', 'current')
    first = next(i for i, (_, end) in enumerate(rows.spans) if end > done)
    progress = Progress(rows, windows.columns, first)
    blend = Blend(network, windows, strips, done)
    places = ((i, j) for i in range(first, len(rows)) for j in range(len(windows.columns)))
    try:
        with ThreadPoolExecutor(1) as reading:
            read = prefetch(reading, lambda place: windows.read(*place), places, 2 * batch_size)
            for row, several in groupby(read, lambda window: window.row):
                for batch in _batches(several, batch_size):
                    blend.add(batch)
                    progress.show(batch)
                blend.finish(row)
    finally:
        blend.sums.close()
    progress.close()


class Blend:
    """Adds up what windows say, cell by cell, and writes the class numbers of finished cells.

    A cell lies between two neighbouring edges of windows, on both axes: all of it is finished by
    the same window.

    Args:
        done: Rows that are there already.
    """

    def __init__(self, network: Network, windows: Windows, strips: Strips, done: int) -> None:
        self.network, self.windows, self.strips, self.done = network, windows, strips, done
        self.sums = Sums(strips.folder)
        self.there: dict[tuple[int, int], np.ndarray | bool] = {}
        self.labels: dict[int, np.ndarray] = {}

    def add(self, batch: Sequence[Window]) -> None:
        """Successive windows of a row; those without data say nothing."""
        given = [one for one in batch if one.data is not None]
        parts = dict(
            zip(
                map(id, given),
                self.network.parts(given, self.windows) if given else [],
                strict=True,
            )
        )
        for one in batch:
            if id(one) in parts:
                self._add(one, parts[id(one)].numpy())
            self._emit(one)

    def _add(self, window: Window, logits: np.ndarray) -> None:
        rows, columns = self.windows.rows, self.windows.columns
        top, left = rows.spans[window.row][0], columns.spans[window.column][0]
        for i in rows.cells_of[window.row]:
            for j in columns.cells_of[window.column]:
                (y0, y1), (x0, x1) = rows.cells[i], columns.cells[j]
                if y1 <= self.done:
                    continue
                place = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
                self.sums.add((i, j), logits[:, place[0], place[1]])
                there = window.there
                self.there[i, j] = there if there is True else _all_or(there[place])

    def _emit(self, window: Window) -> None:
        """Class numbers of the cells of which this window was the last."""
        rows, columns = self.windows.rows, self.windows.columns
        for i in rows.cells_of[window.row]:
            if rows.last[i] != window.row or rows.cells[i][1] <= self.done:
                continue
            for j in columns.cells_of[window.column]:
                if columns.last[j] != window.column:
                    continue
                logits = self.sums.pop((i, j))
                if logits is None:
                    continue
                x0, x1 = columns.cells[j]
                labels = self.network.classes_of(torch.from_numpy(logits)).numpy()
                there = self.there.pop((i, j))
                self._row(i)[:, x0:x1] = (
                    labels if there is True else np.where(there, labels, NOTHING)
                )

    def _row(self, i: int) -> np.ndarray:
        if i not in self.labels:
            first, end = self.windows.rows.cells[i]
            shape = end - first, self.windows.columns.pixels
            self.labels[i] = np.full(shape, NOTHING, np.uint8)
        return self.labels[i]

    def finish(self, row: int) -> None:
        """Writes the rows of cells of which ``row`` was the last row of windows."""
        rows = self.windows.rows
        for i in rows.cells_of[row]:
            if rows.last[i] == row and rows.cells[i][1] > self.done:
                self.strips.write(rows.cells[i][0], self._row(i))
                del self.labels[i]


class Progress:
    """How many windows are done, and how long the others will take."""

    def __init__(self, rows, columns, first: int) -> None:
        self.total, self.done = len(rows) * len(columns), first * len(columns)
        self.first, self.began, self.empty = self.done, time.monotonic(), 0
        self.shown = self.began
        handlers = MMLogger.get_current_instance().handlers
        self.console = next((one for one in handlers if isinstance(one, Console)), None)

    def show(self, batch: Sequence[Window]) -> None:
        self.done += len(batch)
        self.empty += sum(one.data is None for one in batch)
        now = time.monotonic()
        if self.console is None:
            return
        pause = SHOWN[0] if self.console.stream.isatty() else SHOWN[1]
        if now - self.shown >= pause:
            self.shown = now
            left = (now - self.began) / (self.done - self.first) * (self.total - self.done)
            self.console.progress(f'{self._text()}, left: {duration(left)}')

    def close(self) -> None:
        print_log(f'{self._text()} in {duration(time.monotonic() - self.began)}', 'current')

    def _text(self) -> str:
        return f'{self.done} of {self.total} windows' + (
            f' ({self.empty} without an image)' if self.empty else ''
        )


def _batches(windows: Iterator[Window], size: int) -> Iterator[list[Window]]:
    """Successive windows, at most ``size`` with data together."""
    batch: list[Window] = []
    for window in windows:
        batch.append(window)
        if sum(one.data is not None for one in batch) == size or len(batch) == 8 * size:
            yield batch
            batch = []
    if batch:
        yield batch


def _all_or(there: np.ndarray) -> np.ndarray | bool:
    return True if there.all() else there.copy()


def _batch_size(given: int | None, network: Network) -> int:
    size = (1 if network.device.type == 'cpu' else 4) if given is None else given
    if size < 1:
        raise ValueError(f'batch_size={size}: at least 1.')
    return size


def _made_by(model: nn.Module, image: LargeImage, settings: Settings, cog: bool) -> str:
    status = image.path.stat()
    state = [str(image.path.resolve()), status.st_size, status.st_mtime_ns]
    text = json.dumps([fingerprint(model, **settings._asdict()), state, cog])
    return hashlib.sha256(text.encode()).hexdigest()


def _stem(path: Path) -> str:
    name = path.name
    for suffix in ('.ome.tif', '.ome.tiff', '.ome.zarr', path.suffix):
        if suffix and name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _mask_path(image: LargeImage, out_dir: Path) -> Path:
    return out_dir / (_stem(image.path) + ('.ome.tif' if image.microscopy else '.tif'))


def _is_there(mask: Path, made_by: str) -> bool:
    """Whether this very mask is there. FileExistsError where another file is."""
    if not mask.exists():
        return False
    if made_by_of(mask) != made_by:
        raise FileExistsError(
            f'{mask} is there already, of another model or image, or with other settings. Give '
            'another folder, or replace it: --overwrite (overwrite=True).'
        )
    print_log(f'{mask} is there already', 'current')
    return True


def _require_other_file(mask: Path, image: Path) -> None:
    if mask.resolve() == image.resolve():
        raise ValueError(f'the mask {mask} would replace the image: give another folder.')
