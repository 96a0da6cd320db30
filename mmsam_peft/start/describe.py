"""What was seen, in lines for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..datasets.survey.pairs import Pair
from ..datasets.survey.survey import Survey

LISTED = 3
MOST_CLASSES = 12


def describe(
    survey: Survey, parts: Mapping[str, Sequence[Pair]], names: Sequence[str], source: str
) -> list[str]:
    """A line for each thing that is worth knowing before training."""
    total = len(survey.pairs)
    looked = '' if survey.looked_at >= total else f'; looked at {survey.looked_at} of them'
    lines = [
        f'Images   {total}: {_counted(survey.sizes, _size)}; {_counted(survey.kinds, str)}{looked}',
        f'Labels   {survey.encoding.words}',
        f'Classes  {_classes(survey, names)} (names: {source})',
    ]
    objects = survey.objects
    if objects.width:
        lines.append(
            f'Objects  {objects.per_image:.0f} in an image, usually {objects.diameter[1]:.0f} px '
            f'across and {objects.width[1]:.0f} px wide; the narrowest tenth up to '
            f'{objects.width[0]:.0f} px'
        )
    split = ', '.join(f'{len(pairs)} {part}' for part, pairs in parts.items())
    lines.append(f'Split    {split}')
    lines += [f'Odd      {note}' for note in survey.notes]
    if survey.left_out:
        path, why = next(iter(survey.left_out.items()))
        lines.append(
            f'Odd      {len(survey.left_out)} images are left out, such as {path.name}: {why}'
        )
    return lines


def summary(survey: Survey, names: Sequence[str]) -> str:
    """In one line, for the config."""
    sizes = _counted(survey.sizes, _size, 1)
    if len(names) > 2:
        return f'{len(survey.pairs)} images, {sizes}; {len(names)} classes'
    share = survey.objects.shares[1]
    return f'{len(survey.pairs)} images, {sizes}; {names[1]} covers {share:.1%} of the pixels'


def copies_between(
    copies: Sequence[Sequence[Path]], parts: Mapping[str, Sequence[Pair]]
) -> list[str]:
    """Notes on equal images, of which folders may have put one into each part."""
    if not copies:
        return []
    part_of = {pair.image: part for part, pairs in parts.items() for pair in pairs}
    apart = [same for same in copies if len({part_of.get(path) for path in same} - {None}) > 1]
    number = sum(map(len, copies))
    names = ' = '.join(path.name for path in (apart or copies)[0][:LISTED])
    if apart:
        return [
            f'{len(apart)} images are in several parts at once, as {names}: what is trained on '
            'is tested with; remove them, or let the split be made anew'
        ]
    return [f'{number} images are copies of each other, as {names}; they stay in one part']


def _classes(survey: Survey, names: Sequence[str], most: int = MOST_CLASSES) -> str:
    shares, seen = survey.objects.shares, survey.objects.in_images
    listed = [
        f'{name} {share:.2%}' + (f' (in {count} images)' if count < survey.objects.masks else '')
        for name, share, count in zip(names, shares, seen, strict=True)
    ]
    rest = f' and {len(listed) - most} more' if len(listed) > most else ''
    ignored = f'; ignored {survey.objects.ignored:.2%}' if survey.objects.ignored else ''
    return ', '.join(listed[:most]) + rest + ignored


def _counted(counter: Counter, text, most: int = LISTED) -> str:
    if len(counter) == 1:
        return text(next(iter(counter)))
    listed = [f'{text(one)} ({count})' for one, count in counter.most_common(most)]
    rest = f' and {len(counter) - most} others' if len(counter) > most else ''
    return ', '.join(listed) + rest


def _size(shape: tuple[int, int]) -> str:
    return f'{shape[1]} x {shape[0]}'


def duration(seconds: float) -> str:
    if seconds < 90:
        return f'{seconds:.0f} seconds'
    if seconds < 5400:
        return f'{seconds / 60:.0f} minutes'
    if seconds < 172800:
        return f'{seconds / 3600:.1f} hours'
    return f'{seconds / 86400:.1f} days'
