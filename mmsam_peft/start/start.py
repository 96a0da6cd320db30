"""From images and labels to a config and the command that trains it."""

import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..apis.training_defaults import TrainingDefaults
from ..datasets.survey.annotation_files import find_parts, may_be_masks
from ..datasets.survey.encodings import ObjectMasksError
from ..datasets.survey.pairs import find_pairs
from ..datasets.survey.survey import Survey, survey_annotations, survey_masks
from ..datasets.survey.words import IMAGE_WORDS, SPLIT_WORDS, words_of_folder
from ..peft import build_method
from ..peft.notation import label, parse_method
from .choices import SIZES, Sizes, choose_sizes, unseen_classes
from .class_names import class_names
from .config_file import require_new, write_new
from .describe import copies_between, describe, duration
from .draft import Draft
from .encoders import find_encoder
from .split import SHARES, prefix_of, split
from .timing import Timing, Untimed, free_memory, measure

MOST_ON_CPU, MOST = 512, 1024
"""Largest side of the network's input that is chosen. SAM's own is 1024, of which a step takes a
CPU almost five times as long as of 512."""
USED = 0.8
"""Share of the free memory that a training may fill."""
LARGEST_BATCH = 64
SECONDS = 45
"""That the timing may take."""


@dataclass(frozen=True)
class Request:
    """What a user asks for, see tools/start.py."""

    images: Path
    labels: Path | None = None
    out: Path | None = None
    method: str = 'ConvLoRA'
    encoder: str = 'sam_vit_b'
    checkpoint: Path | None = None
    image_size: int | None = None
    classes: Sequence[str] | None = None
    mask_values: str | None = None
    bands: Sequence[int] | None = None
    prefix: int | None = None
    """Images whose names begin alike stay together: the first so many letters, 0 for all before
    the last number."""
    shares: Sequence[float] = SHARES
    resplit: bool = False
    seed: int = 0
    timing: bool = True
    overwrite: bool = False


def start(
    request: Request,
    say: Callable[[str], None] = print,
    ask: Callable[[str], str] | None = None,
    train: str = 'python tools/train.py',
) -> Path:
    """Looks at the data, chooses, and writes the config and the lists of the split.

    Args:
        say: is told what was seen and chosen.
        ask: answers a question that only a person can; without, what the question proposes is
            taken.
        train: the command that trains a config.

    Returns:
        The config's path.

    Raises:
        DatasetError: data that cannot be used.
        ValueError: options that cannot be.
        FileExistsError: the config is there already, and would be changed.
    """
    encoder = find_encoder(request.encoder, request.checkpoint)
    peft = parse_method(request.method)
    build_method(peft)
    survey = _survey(request, ask)
    if survey.annotations:
        names, source = survey.encoding.classes, 'the annotations'
    else:
        near = [pair.image.parents[:3] for pair in survey.pairs[:1]]
        places = dict.fromkeys([request.images, *(place for same in near for place in same)])
        names, source = class_names(survey.encoding, request.classes, [*places])
    parts = split(
        survey.pairs,
        survey.facts,
        request.shares,
        request.seed,
        None if request.prefix is None else prefix_of(request.prefix, request.images),
        survey.copies,
    )
    survey.notes += copies_between(survey.copies, parts)
    for line in describe(survey, parts, names, source):
        say(line)
    draft = Draft(survey, names, parts, encoder, peft, request.seed)
    folder = request.out or Path('my_configs', _name_of(request.images))
    path = folder / f'{label(request.method).lower()}.py'
    if not request.overwrite:
        require_new(draft.lists(folder))  # before the trial, which takes a minute
    sizes, timing = _sizes_that_fit(draft, request, say)
    defaults = draft.defaults(sizes, _batch_that_fits(timing))
    write_new(draft.files(path, sizes, defaults), request.overwrite)
    for line in _ending(draft, sizes, defaults, timing, path, train):
        say(line)
    return path


def _survey(request: Request, ask: Callable[[str], str] | None) -> Survey:
    survey = _survey_of_masks(request, ask)
    if survey is None:
        if request.mask_values:
            raise ValueError('--mask-values is for mask files, and these are annotations.')
        parts = find_parts(request.images, request.labels)
        survey = survey_annotations(parts, request.classes, request.bands, request.seed)
    if request.resplit and len(survey.annotations) > 1:
        raise ValueError('--resplit needs all annotations in one file; here each part has its own.')
    if request.resplit:
        survey.pairs = [replace(pair, split=None) for pair in survey.pairs]
    return survey


def _survey_of_masks(request: Request, ask: Callable[[str], str] | None) -> Survey | None:
    """None where labels are no mask files, or masks of single objects."""
    if not may_be_masks(request.images, request.labels):
        return None
    try:
        found = find_pairs(request.images, request.labels)
        if not found.pairs:
            return None
        survey = survey_masks(found, request.mask_values, request.bands, request.seed)
    except ObjectMasksError:
        return None
    doubt = survey.encoding.doubt
    answer = ask(f'{doubt}\n[Enter], or another way of reading them: ') if doubt and ask else ''
    if answer.strip():
        return survey_masks(found, answer.strip(), request.bands, request.seed)
    survey.notes += [doubt] if doubt and not ask else []
    return survey


def _sizes_that_fit(
    draft: Draft, request: Request, say: Callable[[str], None]
) -> tuple[Sizes, Timing | Untimed]:
    """The sizes, smaller where memory does not suffice, and what a step takes with them."""
    most = MOST if torch.cuda.is_available() else MOST_ON_CPU
    least = request.image_size or draft.encoder.variant.least
    most = request.image_size or max(least, most)
    while True:
        chosen = choose_sizes(draft.survey, least, most)
        fitted = draft.encoder.variant.fitted(chosen.image_size)
        sizes = chosen if request.image_size else replace(chosen, image_size=fitted)
        if not request.timing:
            return sizes, Untimed('--no-timing')
        say(f'Timing   a few steps at {_side(sizes)} ...')
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, 'draft.py')
            write_new(draft.files(path, sizes, draft.defaults(sizes, 1)), replace=True)
            timing = measure(path, SECONDS)
        if isinstance(timing, Timing):
            too_large = timing.memory(1) > USED * free_memory()
        else:
            too_large = timing.too_large
        smaller = [size for size in SIZES if size < max(chosen.image_size)]
        if not too_large or request.image_size or not smaller:
            return sizes, timing
        say(f'         too large for the {free_memory() / 1e9:.1f} GB that are free')
        most = smaller[-1]
        least = min(least, most)


def _batch_that_fits(timing: Timing | Untimed) -> int:
    if not isinstance(timing, Timing):
        return LARGEST_BATCH
    room = USED * free_memory() - timing.held
    return int(min(LARGEST_BATCH, max(1, room // timing.above)))


def _ending(
    draft: Draft,
    sizes: Sizes,
    defaults: TrainingDefaults,
    timing: Timing | Untimed,
    path: Path,
    train: str,
) -> Iterator[str]:
    """What was chosen, what is left to do, how long it takes, and the command."""
    yield f'Size     {_side(sizes)}: {sizes.reason}'
    if note := unseen_classes(draft.survey, sizes, draft.names):
        yield f'         {note}'
    batch, epochs = defaults.batch_size.value, defaults.max_epochs.value
    yield (
        f'Training {draft.encoder.variant.words}; {draft.peft["type"]}, {epochs} epochs in '
        f'batches of {batch}, learning rate {defaults.lr.value:g}'
    )
    if draft.encoder.advice:
        yield f'Weights  {draft.encoder.advice}'
    yield f'Written  {path} and the lists of the split beside it; every line says why'
    where = 'this GPU' if torch.cuda.is_available() else 'this CPU'
    if isinstance(timing, Timing):
        seconds = epochs * len(draft.parts['train']) * timing.step
        validations = epochs // defaults.val_interval.value
        seconds += validations * len(draft.parts['val']) * (timing.validation or timing.step)
        yield (
            f'Time     about {duration(seconds)} on {where} ({timing.step:.2g} s an image of '
            f'training), {timing.memory(batch) / 1e9:.1f} GB of memory'
        )
    else:
        yield f'Time     not known: {timing.reason}'
    yield ''
    yield f'{train} {shlex.quote(path.as_posix())}'


def _side(sizes: Sizes) -> str:
    height, width = sizes.image_size
    return f'{width} x {height}'


def _name_of(images: Path) -> str:
    """What the data is called: the folder's name, or that above folders such as images and
    train."""
    for place in (images.resolve(), *images.resolve().parents):
        words = words_of_folder(place.name)
        if any(word not in IMAGE_WORDS and word not in SPLIT_WORDS for word in words):
            return re.sub(r'[^\w.-]+', '_', place.name)
    return 'data'
