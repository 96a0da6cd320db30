"""What the header of an adapter file, or of a ``.pth`` checkpoint, may hold. A file can come from
anywhere: whatever is not as it should be is a ValueError that names the file."""

import json
import math
import os
import re

from .positions import is_sketch

ADAPTER = 'mmsam_peft_adapter'
"""Where a file's metadata, a checkpoint's ``meta`` and a state dict's metadata carry the header."""
FORMAT = 2
"""Format 1 had neither ``tensors`` nor ``sha256``."""
MAX_CHARACTERS = 2**20
MAX_LEVELS = 12
FURTHER = ('scores', 'data', 'provenance')
"""Fields for people: nothing is built of them."""


def parse_header(text: str, path: str | os.PathLike) -> dict:
    """The header of the file ``path`` from its JSON text. ValueError when it is malformed."""
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        found = f'{len(text):,} characters' if isinstance(text, str) else type(text).__name__
        raise _malformed(path, f'is a text of at most {MAX_CHARACTERS:,} characters', found)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, 'is JSON', str(error)[:80]) from None
    if not isinstance(header, dict) or not _is_plain(header):
        raise _malformed(
            path,
            f'is a dict of finite numbers and texts, at most {MAX_LEVELS} levels deep',
            text[:40],
        )
    form = header.get('format')
    if not _is_count(form):
        raise _malformed(path, f'has a format from 1 to {FORMAT}', f'format={_short(form)}')
    if form > FORMAT:
        raise ValueError(
            f'{path} has adapter format {_short(form)} (mmsam_peft '
            f'{_short(header.get("version"))}), this version reads up to {FORMAT}: '
            'upgrade mmsam_peft.'
        )
    for field, (is_right, expected) in FIELDS.items():
        if field in ('tensors', 'sha256') and form == 1:
            continue
        if field not in header or not is_right(header[field]):
            found = f'{field}={_short(header[field])}' if field in header else f'no {field}'
            raise _malformed(path, f'has {field}: {expected}', found)
    for field, (is_right, expected) in OPTIONAL.items():
        if header.get(field) is not None and not is_right(header[field]):
            found = f'{field}={_short(header[field])}'
            raise _malformed(path, f'has {field}: {expected}', found)
    classes, palette = header['classes'], header['palette']
    if palette is not None and len(palette) != len(classes or ()):
        raise _malformed(
            path,
            'has a colour for each class',
            f'{len(palette)} colours, {len(classes or ())} classes',
        )
    return header


def _malformed(path: str | os.PathLike, expected: str, found: str) -> ValueError:
    return ValueError(
        f'{path} has a malformed adapter header: got {found}; a sound one {expected}. '
        'The file is damaged, or another program made it: copy it again from where '
        'it was written, or train it again.'
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else f'{text[:40]}...'


def _is_plain(value: object) -> bool:
    """Whether every number is finite, and nothing lies too deep; without recursion."""
    level = [value]
    for _ in range(MAX_LEVELS):
        if any(isinstance(one, float) and not math.isfinite(one) for one in level):
            return False
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return not level


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0  # True is an int too


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch('[0-9a-f]{64}', value) is not None


def _is_config(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get('type'), str) or not value['type']:
        return False
    inner = value.get('peft')
    return inner is None or _is_config(inner)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(one, str) for one in value)


def _is_classes(value: object) -> bool:
    return value is None or _is_names(value)


def _is_recipe(value: object) -> bool:
    return isinstance(value, dict) and _is_config(value.get('model'))


def _is_base(value: object) -> bool:
    """The name is looked for in folders: it must not lead out of them."""
    name = value.get('name') if isinstance(value, dict) else None
    return (
        isinstance(name, str)
        and re.fullmatch(r'(mmsam_peft://)?[^/\\\0]{1,255}', name) is not None
        and not name.endswith('..')
    )


def _is_palette(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_colour, value)))


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in value)
    )


FIELDS = {
    'arch': (
        lambda value: isinstance(value, dict) and len(value) > 0,
        "the encoder's sizes by name",
    ),
    'img_size': (_is_size, '[height, width], in pixels'),
    'base': (_is_hash, 'the SHA-256 of the frozen weights'),
    'peft': (_is_config, 'a config with a type'),
    'head': (_is_config, 'a config with a type'),
    'classes': (_is_classes, 'names, or null'),
    'palette': (_is_palette, '[red, green, blue] from 0 to 255 for each class, or null'),
    'tensors': (_is_names, "the tensors' names"),
    'sha256': (_is_hash, 'the SHA-256 of the content'),
}
"""Whether a field is right, and what is expected. ``version`` is free; so are further fields."""
OPTIONAL = {
    'pixels': (lambda value: isinstance(value, dict), 'the setting of a config, or null'),
    'base_dtype': (lambda value: isinstance(value, str), 'how the base was stored, or null'),
    'rounded_base': (_is_hash, 'the SHA-256 of the frozen weights as they were stored, or null'),
    'positions': (is_sketch, 'numbers that tell position tables apart, or null'),
    'recipe': (_is_recipe, 'the config of a model, or null'),
    'needs_config': (lambda value: isinstance(value, str), 'a text'),
    'base_weights': (_is_base, "the base weights' name, without a folder, or null"),
    **{name: (lambda value: isinstance(value, dict), 'a dict') for name in FURTHER},
}
"""The same of fields that a file may lack."""
