"""What the images of a set hold, and the setting ``pixels`` that fits them."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..checks.problems import FILES_LISTED, reason
from .setting import Pixels, without_value
from .stored import Header, kind_text, read_header, read_stored

LEAST, MOST = 0.5, 99.5
"""Percentiles of a band's values that become 0 and 255."""
IMAGES = 500
VALUES = 2**21
"""Of each band, that are kept in memory at most."""


@dataclass
class Survey:
    """What was seen, and ``pixels``, the setting to put into the config: {} where none is
    needed."""

    pixels: dict = field(default_factory=dict)
    kinds: Counter = field(default_factory=Counter)
    """Images by what they hold, in words."""
    sizes: Counter = field(default_factory=Counter)
    """Images by (height, width)."""
    sampled: int = 0
    """Images whose values were looked at."""
    without_value: int = 0
    """Pixels of these that have none; they were left out."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Reasons by path."""

    def __str__(self) -> str:
        lines = [
            f'{count} image{"s" * (count != 1)} of {kind}'
            for kind, count in self.kinds.most_common()
        ]
        if self.sizes:
            heights, widths = zip(*self.sizes, strict=True)
            lines.append(
                f'{min(widths)} to {max(widths)} pixels wide, {min(heights)} to {max(heights)} high'
            )
        if self.without_value:
            lines.append(
                f'{self.without_value} pixels without a value in the {self.sampled} images that '
                'were looked at: they become black'
            )
        lines += [f'not readable: {path}: {why}' for path, why in self.unreadable.items()]
        setting = ', '.join(f'{key}={value!r}' for key, value in self.pixels.items())
        return '\n'.join(
            [*lines, f'pixels = dict({setting})' if setting else 'no setting is needed']
        )


def survey_pixels(
    paths: Sequence[str | Path],
    bands: Sequence[int] | None = None,
    nodata: float | str | Sequence[float | str] | None = None,
    seed: int = 0,
) -> Survey:
    """Looks at the beginning of every image, and at the values of ``IMAGES`` of them, drawn by
    ``seed``: the percentiles 0.5 and 99.5 of each band become the range. The memory needed does not
    grow with the set.

    Args:
        bands: To choose, the first is 1; by default all.
        nodata: Values of pixels that have none, beside those that GeoTIFFs name, and NaN.

    Raises:
        ValueError: No image can be read; images of several kinds, which no setting fits; a band
            with a single value.
    """
    survey, kinds = Survey(), defaultdict(list)
    for path in map(Path, paths):
        try:
            with path.open('rb') as file:
                header = read_header(file)
        except Exception as error:  # each decoder has its own
            survey.unreadable[str(path)] = reason(error)
            continue
        survey.kinds[kind_text(header)] += 1
        survey.sizes[header.size] += 1
        kinds[_kind(header)].append((path, header))
    if not kinds:
        listed = ''.join(f'\n  {path}: {why}' for path, why in _first(survey.unreadable))
        raise ValueError(f'none of {len(paths)} images can be read.{listed}')
    if len(kinds) > 1:
        _refuse(kinds)
    (found,) = kinds.values()
    header = found[0][1]
    if bands is None and header.dtype == 'uint8' and header.bands - header.alpha not in (1, 3):
        bands = range(1, header.bands - header.alpha + 1)
    if bands is None and header.dtype != 'uint8' and header.bands - header.alpha > 3:
        bands = range(1, header.bands - header.alpha + 1)
    setting = {} if bands is None else dict(bands=list(bands))
    given = list(Pixels.of(dict(nodata=nodata)).without)
    named = [one.nodata for _, one in found if one.nodata is not None]
    values, seen = _values(found, bands, {*given, *named}, seed, survey)
    if survey.sampled < len(found):
        seen |= set(named)  # in others it may occur
    if header.dtype != 'uint8':
        setting.update(_range(values, header.dtype, bands), dtype=header.dtype)
    seen = sorted({value for value in (*given, *seen) if not math.isnan(value)}) + (
        ['nan'] if any(math.isnan(value) for value in (*given, *seen)) else []
    )
    if seen:
        setting['nodata'] = seen[0] if len(seen) == 1 else seen
    survey.pixels = Pixels.of(setting).setting()
    return survey


def _kind(header: Header) -> tuple[str, int]:
    """Images of one kind can have one setting; grey and RGB of 8 bits need none."""
    colours = header.bands - header.alpha
    return header.dtype, 3 if header.dtype == 'uint8' and colours == 1 else colours


def _refuse(kinds: dict) -> None:
    lines = []
    for found in sorted(kinds.values(), key=len, reverse=True):
        names = ', '.join(str(path) for path, _ in found[:FILES_LISTED])
        more = f' and {len(found) - FILES_LISTED} more' if len(found) > FILES_LISTED else ''
        lines.append(f'\n  {len(found)} of {kind_text(found[0][1])}: {names}{more}')
    raise ValueError(
        f'the images are of several kinds, for which there is no common range:{"".join(lines)}\n'
        'Convert all alike, or leave some out.'
    )


def _first(items: dict) -> list[tuple]:
    return list(items.items())[:FILES_LISTED]


def _values(
    found: list, bands: Sequence[int] | None, nodata: set[float], seed: int, survey: Survey
) -> tuple[np.ndarray, set[float]]:
    """Values (N, bands) of pixels that have some, as many of each image at most; and the values
    that stand for none, where they were seen."""
    rng, sample, seen = np.random.default_rng(seed), [], set()
    if len(found) > IMAGES:
        found = [found[i] for i in sorted(rng.choice(len(found), IMAGES, replace=False))]
    for path, header in found:
        try:
            with path.open('rb') as file:
                stored = read_stored(file)
        except Exception as error:
            survey.unreadable[str(path)] = reason(error)
            continue
        count = header.bands - header.alpha
        if bands is not None and max(bands) > header.bands:
            raise ValueError(
                f'{path}: got {kind_text(header)}, expected {max(bands)}: choose other bands'
            )
        taken = [band - 1 for band in bands or range(1, count + 1)]
        pixels = stored.values[..., taken]
        holes = np.zeros(pixels.shape[:2], bool)
        for value in nodata | {math.nan, math.inf, -math.inf}:
            these = without_value(pixels, value)
            if math.isinf(value) and these.any():
                survey.unreadable[str(path)] = f'{int(these.sum())} infinite values'
            elif these.any():
                seen.add(value)
            holes |= these
        survey.sampled += 1
        survey.without_value += int(holes.sum())
        pixels = pixels[~holes]
        if len(pixels) > (most := max(1, VALUES // len(found))):
            pixels = pixels[rng.choice(len(pixels), most, replace=False)]
        sample.append(pixels)
    if not sum(map(len, sample)):
        listed = ''.join(f'\n  {path}: {why}' for path, why in _first(survey.unreadable))
        raise ValueError(f'no image has a pixel with a value.{listed}')
    if len({pixels.shape[1] for pixels in sample}) > 1:  # grey and RGB of 8 bits
        sample = [np.broadcast_to(pixels, (len(pixels), 3)) for pixels in sample]
    return np.concatenate(sample), seen


def _range(values: np.ndarray, dtype: str, bands: Sequence[int] | None) -> dict:
    low, high = np.percentile(values.astype(float), [LEAST, MOST], axis=0)
    for number, ends in enumerate(zip(low, high, strict=True)):
        if ends[0] == ends[1]:
            low[number], high[number] = values[:, number].min(), values[:, number].max()
    single = [
        (bands[number] if bands else number + 1)
        for number in range(len(low))
        if low[number] == high[number]
    ]
    if single:
        raise ValueError(
            f'band {", ".join(map(str, single))} has a single value in all images: choose others '
            'by bands'
        )
    if dtype.startswith('float'):
        return dict(
            low=[float(f'{value:.6g}') for value in low],
            high=[float(f'{value:.6g}') for value in high],
        )
    return dict(low=[math.floor(value) for value in low], high=[math.ceil(value) for value in high])
