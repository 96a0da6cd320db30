"""One model, many images, one folder for the masks; any number of processes, again and again until
all is done."""

import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from ...datasets.files import head_of
from ...models.segmentors import MultiTaskSegmentor
from ..extras import Extras
from ..inference import init_model, pipeline_of
from ..outputs import RECORD, fingerprint
from ..prediction import (
    PLAIN,
    THREADS,
    Picture,
    batches,
    load,
    output_folders,
    predict_batch,
    prefetch,
    reason,
    write,
)
from .manifest import DONE, FAILED, Row, Writer, read_rows
from .stores import Folder, Image, here, list_images

DRAWN = ('overlays', 'panels')
"""Folders of pictures for people, larger than the masks."""


@dataclass(frozen=True)
class Settings:
    """What predictions are made by; it can be sent to other processes.

    Args:
        weights: An adapter, or a checkpoint with a header; or of ``config``.
        checkpoint: Base weights, see ``init_model``.
        overlays: Also write overlays, or panels of several tasks.
    """

    weights: str
    config: str | None = None
    checkpoint: str | None = None
    options: dict | None = None
    device: str | None = None
    batch_size: int | None = None
    amp: bool = False
    overlays: bool = False
    extras: Extras = PLAIN

    def model(self, device: str | None = None) -> nn.Module:
        device = self.device or device
        model = init_model(
            self.config, self.weights, device, self.options, checkpoint=self.checkpoint
        )
        self.extras.check(model)
        return model


class Job:
    """Predictions of a model in a folder.

    Args:
        out: A folder, or the address of one in an object store.
        listed: What ``list_images`` finds, where another process has looked.

    Raises:
        FileExistsError: The folder holds predictions of another model, of other settings or of
            other images, or those of ``predict``.
        FileNotFoundError: There is no image at ``source``.
        ValueError: A prediction would replace an image; extras that the model has not.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Settings,
        source: str,
        out: str,
        listed: tuple[str, list[Image]] | None = None,
    ) -> None:
        self.model, self.settings, self.out = model, settings, Folder(out)
        suffixes = {**output_folders(model), **settings.extras.folders}
        self.folders = {
            name: suffix
            for name, suffix in suffixes.items()
            if settings.overlays or name not in DRAWN
        }
        self.made_by = fingerprint(
            model, amp=settings.amp, extras=settings.extras, folders=list(self.folders)
        )
        self.top, self.images = listed or list_images(source)
        self._refuse_to_replace_images()
        self._claim()

    def _refuse_to_replace_images(self) -> None:
        given = {f'{self.top}/{image.below}' for image in self.images}
        for image in self.images:
            for name in self.files_of(image):
                if f'{self.out.name}/{name}' in given:
                    raise ValueError(
                        f'The prediction {name} in {self.out.address} would replace an image that '
                        'is to be predicted: give another folder.'
                    )

    def _claim(self) -> None:
        """The folder's record says whose it is; the first to come writes it."""
        head = dict(made_by=self.made_by, folders=list(self.folders), images_of=self.top)
        text = self.out.read(RECORD)
        if text is None:
            self._refuse_files()
            self.out.create(RECORD, f'{json.dumps(head)}\n'.encode())
            text = self.out.read(RECORD)
        found = head_of(text)
        if found == head:
            return
        place = self.out.address
        if 'images_of' not in found:
            raise FileExistsError(
                f'{place} holds predictions of tools/predict.py, whose record is another: give '
                'another folder.'
            )
        if found.get('made_by') != self.made_by:
            raise FileExistsError(
                f'{place} holds predictions of another model, or with other settings: give '
                'another folder, or remove this one.'
            )
        raise FileExistsError(
            f'{place} holds predictions of the images of {found["images_of"]}, these are of '
            f'{self.top}: give another folder.'
        )

    def _refuse_files(self) -> None:
        for folder in self.folders:
            there = self.out.files(folder)
            if there and self.out.read(RECORD) is None:  # no other process has come first
                raise FileExistsError(
                    f'{self.out.address} has no record of the {len(there)} files in {folder}: give '
                    'another folder.'
                )

    def left(self, part: int = 0, parts: int = 1) -> list[Image]:
        """The images of one of ``parts`` equal parts whose predictions are not there, or have
        changed since. A name's checksum says in which part it is, whatever else there is."""

        def is_in(name: str) -> bool:
            return zlib.crc32(name.encode(errors='surrogateescape')) % parts == part

        rows = read_rows(self.out, self.made_by, is_in)
        there = set().union(*map(self.out.files, self.folders))
        return [
            image
            for image in self.images
            if is_in(image.below) and not self._is_done(image, rows.get(image.below), there)
        ]

    def _is_done(self, image: Image, row: Row | None, there: set[str]) -> bool:
        return (
            row is not None
            and (row.status, row.state) == (DONE, image.state)
            and there.issuperset(self.files_of(image))
        )

    def files_of(self, image: Image) -> list[str]:
        stem = image.name.removesuffix('.png')
        return [f'{folder}/{stem}{suffix}' for folder, suffix in self.folders.items()]

    def run(self, images: Iterable[Image], part: int = 0) -> Iterator[Row]:
        """Predicts images, writes their files and the manifest. An image that fails stops nothing;
        a disk that is full, or a store that does not take a file, stops everything.

        Raises:
            OSError: The outputs cannot be written.
        """
        with Writer(self.out, self.made_by, part) as manifest:
            for row in predict_images(self, images):
                manifest.add(row)
                yield row


class Places:
    """Where ``prediction.write`` puts the files of images: in the folder itself, or, for a store,
    in one beside the images that are on their way."""

    def __init__(self, job: Job, scratch: Path) -> None:
        self.folders, self.images = job.folders, {}
        self.top = Path(job.out.root) if job.out.is_local else scratch

    def paths(self, name: Path) -> dict[str, Path]:
        return {
            folder: (self.top / folder / name).with_suffix(suffix)
            for folder, suffix in self.folders.items()
        }

    def note(self, image: Path, complete: bool) -> None:
        """The manifest does."""

    def remove(self, image: Path) -> None:
        """The job does."""


def predict_images(job: Job, images: Iterable[Image]) -> Iterator[Row]:
    """From images to files of masks: what every process of a job does, in order. Threads read the
    next ones and write the last ones meanwhile."""
    model, settings = job.model, job.settings
    device, pipeline = next(model.parameters()).device, pipeline_of(model)
    size = settings.batch_size or (1 if device.type == 'cpu' else 4)
    writers = 1 if isinstance(model, MultiTaskSegmentor) else THREADS
    known: dict[Path, Image] = {}
    seconds: dict[Path, float] = {}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix='mmsam_peft-')))
        reading = stack.enter_context(ThreadPoolExecutor(THREADS))
        writing = stack.enter_context(ThreadPoolExecutor(writers))
        places = Places(job, scratch)

        def read(image: Image) -> Picture:
            start = time.perf_counter()
            try:
                with here(image, scratch) as path:
                    picture = load(path, pipeline)
            except Exception as error:  # of stores and networks, each has its own
                path = scratch / image.name
                picture = Picture(path, error=error.with_traceback(None))
            known[path], places.images[path] = image, Path(image.name)
            seconds[path] = time.perf_counter() - start
            return picture

        def predicted() -> Iterator[Picture]:
            for batch in batches(prefetch(reading, read, images, 2 * size), size):
                start = time.perf_counter()
                made = predict_batch(model, batch, device, settings.amp, settings.extras)
                share = (time.perf_counter() - start) / len(batch)
                for picture in made:
                    seconds[picture.path] += share
                    yield picture

        def written(picture: Picture) -> Row:
            start = time.perf_counter()
            done = write(model, picture, places, 0.5, settings.extras)
            path, error = done.path, done.error
            image = known.pop(path)
            places.images.pop(path)
            _settle(job, image, error is None, places)
            taken = seconds.pop(path) + time.perf_counter() - start
            said = reason(error).replace(str(path), image.place) if error else ''
            status = FAILED if error else DONE
            mask = '' if error else job.files_of(image)[0]
            return Row(image.below, mask, status, taken, said, image.state, time.time())

        yield from prefetch(writing, written, predicted(), size)


def _settle(job: Job, image: Image, good: bool, places: Places) -> None:
    """Brings the files of a prediction to a store; removes what there is of an image that can no
    longer be predicted."""
    for name in job.files_of(image):
        if not good:
            job.out.remove(name)
        elif not job.out.is_local:
            job.out.put(places.top / name, name)
            (places.top / name).unlink()


def own_part(part: int, parts: int) -> tuple[int, int]:
    """Of the part of a job that several processes of torchrun share, the one of this process."""
    rank, processes = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    return part * processes + rank, parts * processes


def own_device() -> str | None:
    """The GPU of this process of torchrun, if there are any."""
    return f'cuda:{os.environ.get("LOCAL_RANK", 0)}' if torch.cuda.is_available() else None
