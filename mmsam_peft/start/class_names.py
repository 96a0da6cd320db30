"""What the classes are called: as a person says, as a list beside the data says, or as their values
are."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..datasets.checks.problems import DatasetError, short
from ..datasets.survey.encodings import Encoding

LISTS = re.compile(r'(class|label)[\w-]*\.(txt|csv|names)|obj\.names', re.IGNORECASE)
"""Names of files that list classes: classes.txt, label_colors.txt, class_dict.csv, labelmap.txt."""
LONGEST = 65536


def class_names(
    encoding: Encoding, given: Sequence[str] | None, places: Sequence[Path]
) -> tuple[tuple[str, ...], str]:
    """The names, and where they are from.

    Args:
        given: what the user says; 'background' may be left out.
        places: folders in which a list of classes may lie.

    Raises:
        DatasetError: another number of names than of classes.
    """
    number = len(encoding.classes)
    if given:
        names = tuple(given)
        if len(names) == number - 1 and encoding.classes[0] == 'background':
            names = ('background', *names)
        if len(names) != number or len(set(names)) < number:
            raise DatasetError(
                f'got --classes {short(" ".join(given))}, expected {number} different names, for '
                f'{short(", ".join(encoding.classes))} in this order'
            )
        return names, 'from --classes'
    for place in places:
        for path in sorted(place.iterdir()):
            if LISTS.fullmatch(path.name) and path.is_file() and path.stat().st_size < LONGEST:
                if names := listed(path.read_text('utf-8-sig', 'replace'), encoding):
                    return names, f'from {path.name}'
    return encoding.classes, 'give names by --classes'


def listed(text: str, encoding: Encoding) -> tuple[str, ...] | None:
    """The names in a list, a line for each class, perhaps with its colour, that fit the classes;
    None if they do not."""
    rows = [
        _row(line) for line in text.splitlines() if line.strip() and line.strip()[0] not in '#%'
    ]
    rows = [row for row in rows if row[0] and row[0].lower() not in ('name', 'label', 'class')]
    names = [name for name, _ in rows]
    if len(set(names)) < len(names):
        return None
    if not isinstance(encoding.mask_values, str):
        by_colour = {colour: name for name, colour in rows}
        found = [by_colour.get(colour) for colour in encoding.palette]
        return tuple(found) if None not in found else None
    number = len(encoding.classes)
    if len(names) == number - 1 and names[0].lower() != 'background':
        return ('background', *names)
    return tuple(names) if len(names) == number else None


def _row(line: str) -> tuple[str, tuple[int, ...] | None]:
    """'road 128 64 128', 'road,128,64,128' or 'road:128,64,128::': name and colour."""
    numbers = re.findall(r'(?<![\w.])\d+(?![\w.])', line)
    colour = tuple(map(int, numbers[-3:])) if len(numbers) >= 3 else None
    words = re.split(r'[,;:\t]| (?=\d)|(?<=\d) ', line.strip())
    name = next((word.strip() for word in words if re.search(r'[^\W\d]', word)), '')
    return name, colour
