"""From what a file holds to what a network sees: which bands, and which of their values become 0 to
255."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Union

import numpy as np

from .order import in_order
from .stored import DTYPES, Header, Stored, kind_text, opaque

ESTIMATE = 'python tools/analysis_tools/pixel_range.py IMAGES'
Numbers = float | Sequence[float]


@dataclass(frozen=True)
class Pixels:
    """The setting ``pixels`` of a config; without any, images are grey or RGB of 8 bits.

        pixels = dict(low=[0, 0, 0, 0], high=[3000, 2800, 2500, 6000], bands=[3, 2, 1, 4])

    A value v becomes ``255 (v - low) / (high - low)``, between 0 and 255, in float32: nothing is
    rounded to 8 bits. What lies outside is clipped. The first three bands are what SAM's weights
    take for red, green and blue; a single one, or the first of two, stands for all three. Each
    further one is a channel of its own (``SAMViT.in_channels``).

    Args:
        low, high: By chosen band, or one number for all. Needed for anything but 8 bits.
        bands: Which of the file's bands, the first is 1, as in GDAL; by default grey or RGB, or as
            many as ``low`` and ``high`` have.
        nodata: The value, or values, of pixels that have none, NaN as 'nan': they become black.
        dtype: What the files hold, such as 'uint16'; others are refused.

    Raises:
        ValueError: names the setting that cannot be.
    """

    low: Numbers | None = None
    high: Numbers | None = None
    bands: Sequence[int] | None = None
    nodata: float | str | Sequence[float | str] | None = None
    dtype: str | None = None

    @classmethod
    def of(cls, setting: Union[Mapping, 'Pixels', None]) -> 'Pixels':
        if isinstance(setting, Pixels):
            return setting
        known = [field.name for field in fields(cls)]
        if setting is not None and not isinstance(setting, Mapping):
            raise ValueError(
                f'pixels={setting!r:.80}: expected a dict of {", ".join(known)}, such as the one '
                f'that `{ESTIMATE}` prints'
            )
        if unknown := sorted(set(setting or ()) - set(known)):
            raise ValueError(f'pixels has no {", ".join(unknown)}: it has {", ".join(known)}')
        return cls(**(setting or {}))

    def __post_init__(self) -> None:
        for name in ('low', 'high', 'bands', 'nodata'):
            value = getattr(self, name)
            if isinstance(value, Sequence) and not isinstance(value, str):
                object.__setattr__(self, name, tuple(value))
        if (self.low is None) != (self.high is None):
            raise ValueError(f'pixels has low={self.low} and high={self.high}: set both or none')
        lows, highs = _as_tuple(self.low), _as_tuple(self.high)
        if not all(map(_is_number, (*lows, *highs))):
            raise ValueError(
                f'pixels has low={self.low} and high={self.high}: expected finite numbers'
            )
        bands = self.bands
        if bands is not None and not (
            isinstance(bands, tuple)
            and bands
            and all(type(band) is int and band >= 1 for band in bands)
        ):
            raise ValueError(
                f'pixels.bands={bands}: expected a list of the numbers of bands, the first is 1'
            )
        lengths = {len(one) for one in (self.low, self.high, bands) if isinstance(one, tuple)}
        if len(lengths) > 1 or 0 in lengths:
            raise ValueError(
                f'pixels has low={self.low}, high={self.high} and bands={bands}: expected one '
                'number for each chosen band, or one for all'
            )
        wrong = [pair for pair in np.broadcast(lows, highs)] if lows else []
        if any(low >= high for low, high in wrong):
            raise ValueError(f'pixels has low={self.low} and high={self.high}: low must be below')
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ValueError(f'pixels.dtype={self.dtype!r}: expected one of {", ".join(DTYPES)}')
        _ = self.without  # raises where one is no number

    def setting(self) -> dict:
        """What the config says, as plain data."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    @property
    def chosen(self) -> int | None:
        """How many bands of a file are taken; None: grey or RGB."""
        named = [one for one in (self.bands, self.low, self.high) if isinstance(one, tuple)]
        return len(named[0]) if named else None

    @property
    def channels(self) -> int:
        """How many channels the network sees."""
        chosen = self.chosen or 1
        return {1: 3, 2: 4}.get(chosen, chosen)

    def require(self, header: Header, extent: str = '') -> None:
        """Raises ValueError where a file does not hold what the setting says."""
        found, colours = kind_text(header), header.bands - header.alpha
        if self.dtype not in (None, header.dtype):
            raise ValueError(
                f'got {found}, expected {self.dtype} as pixels.dtype says: one range cannot serve '
                'both; convert all images alike'
            )
        if self.bands is not None and max(self.bands) > header.bands:
            raise ValueError(
                f'got {found}, expected {max(self.bands)} at least: correct pixels.bands='
                f'{list(self.bands)}'
            )
        if self.bands is None and self.chosen not in (None, colours):
            raise ValueError(
                f'got {found}, expected {self.chosen}, as many as pixels.low and high have: choose '
                'by pixels.bands'
            )
        if self.chosen is None and colours not in (1, 3):
            raise ValueError(
                f'got {found}, expected grey or RGB: choose by pixels = dict(bands=[...]) in the '
                f'config; `{ESTIMATE}` prints a setting for all'
            )
        if header.dtype != 'uint8' and self.low is None:
            raise ValueError(
                f'got {found}{extent}, expected 8 bits, or the range of values that becomes 0 to '
                f'255, as pixels = dict(low=..., high=...) in the config: `{ESTIMATE}` estimates it'
            )
        if header.dtype == 'uint8' and any(high > 255 for high in _as_tuple(self.high)):
            raise ValueError(
                f'got {found}, but pixels.high={self.high} is of other images: convert all alike'
            )

    def picture(self, stored: Stored) -> np.ndarray:
        """The picture (H, W, channels): blue, green, red, as OpenCV has them, then the further
        bands; float32 from 0 to 255 where there is a range, else uint8.

        Raises:
            ValueError: as ``require``; pixels that are transparent, or have no value, where
                ``nodata`` does not say so.
        """
        header, values = stored
        one = header.bands - header.alpha == 1 and header.dtype != 'uint8'
        self.require(header, f' from {values.min()} to {values.max()}' if one else '')
        taken = [band - 1 for band in self.bands or range(1, header.bands - header.alpha + 1)]
        if header.alpha and header.bands - 1 not in taken:
            _require_opaque(values[..., -1])
        if taken != list(range(values.shape[2])):
            values = values[..., taken]
        holes = self._holes(values, header.nodata)
        if self.low is not None:
            values = self._scaled(values)
        if holes is not None:
            values = np.where(holes[..., None], np.zeros((), values.dtype), values)
        order = {1: [0, 0, 0], 2: [0, 0, 0, 1]}.get(len(taken), [2, 1, 0, *range(3, len(taken))])
        return in_order(values, order)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        exact = np.float32 if values.dtype.itemsize <= 2 or values.dtype == 'float32' else float
        low, high = np.asarray(self.low, float), np.asarray(self.high, float)
        with np.errstate(invalid='ignore', over='ignore'):
            scaled = (values.astype(exact) - low.astype(exact)) * (255 / (high - low)).astype(exact)
        return np.clip(scaled, 0, 255).astype(np.float32)

    @property
    def without(self) -> list[float]:
        """The values of pixels that have none."""
        given = [] if self.nodata is None else self.nodata
        given = list(given) if isinstance(given, tuple) else [given] if given != [] else []
        try:
            return [float(value) for value in given]
        except (TypeError, ValueError):
            raise ValueError(
                f"pixels.nodata={self.nodata!r}: expected a number, 'nan', or a list of these"
            ) from None

    def _holes(self, values: np.ndarray, of_file: float | None) -> np.ndarray | None:
        """The pixels without a value, (H, W), where the setting says what has none; ValueError
        where it does not."""
        declared = self.without
        holes = np.zeros(values.shape[:2], bool)
        for value in declared:
            holes |= without_value(values, value)
        undeclared = [] if of_file is None else [of_file]
        if values.dtype.kind == 'f':
            undeclared += [math.nan, math.inf, -math.inf]
        for value in undeclared:
            if number := int((without_value(values, value) & ~holes).sum()):
                name = "'nan'" if math.isnan(value) else f'{value:g}'
                cure = f'nodata={name} in pixels of the config makes them black'
                raise ValueError(
                    f'got {number} pixels without a value ({value:g}), expected none: '
                    f'{"fill them" if math.isinf(value) else cure}'
                )
        return holes if declared else None


def without_value(values: np.ndarray, nodata: float) -> np.ndarray:
    """(H, W): where the bands (H, W, C) have the value that stands for none; for floating-point
    numbers any of the bands, for whole ones all, of which one may be black by chance."""
    if math.isnan(nodata):
        return np.isnan(values).any(-1) if values.dtype.kind == 'f' else _nowhere(values)
    if values.dtype.kind == 'f':
        with np.errstate(over='ignore'):
            return (values == values.dtype.type(nodata)).any(-1)
    limits = np.iinfo(values.dtype)
    if not limits.min <= nodata <= limits.max or nodata != round(nodata):
        return _nowhere(values)
    return (values == int(nodata)).all(-1)


def _nowhere(values: np.ndarray) -> np.ndarray:
    return np.zeros(values.shape[:2], bool)


def _require_opaque(alpha: np.ndarray) -> None:
    if (alpha == 255).all():  # some programs write it so into 16 bits
        return
    if hidden := int((alpha < opaque(alpha.dtype)).sum()):
        raise ValueError(
            f'got {hidden} transparent pixels, whose colour is not what one '
            'sees, expected none: save the image without transparency (alpha), '
            'over the background that belongs there'
        )


def _as_tuple(value: Numbers | None) -> tuple:
    return () if value is None else value if isinstance(value, tuple) else (value,)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
