"""What there is in a data set, in numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence

from .classes import ClassesSeen

SIZES = 12
"""That many different sizes are listed, the most frequent ones."""


def summary_of(
    sizes: Counter,
    seen: Mapping[str, ClassesSeen],
    names: Mapping[str, Sequence[str] | None],
) -> dict:
    """Plain JSON.

    Args:
        sizes: Images by (height, width).
        seen: Which classes the labels show, by task; '' for the only one.
        names: Of the classes, by task.

    Returns:
        ``images``; ``sizes``, [height, width, images] of the most frequent ones; ``smallest`` and
        ``largest``, [height, width] by area; ``classes``, {task: {class: pixels}}; ``ignored``,
        {task: pixels}.
    """
    known = {size: number for size, number in sizes.items() if size is not None}
    by_area = sorted(known, key=lambda size: (size[0] * size[1], size))
    common = sorted(known.items(), key=lambda item: (-item[1], item[0]))[:SIZES]
    classes, ignored = {}, {}
    for task, one in seen.items():
        if one.classes:
            plain = ('background', task) if task and one.classes == 2 else range(one.classes)
            called = map(str, names.get(task) or plain)
            classes[task] = {name: int(one.pixels[i]) for i, name in enumerate(called)}
            ignored[task] = int(one.pixels[one.ignore]) if one.ignore >= one.classes else 0
    return dict(
        images=sum(sizes.values()),
        sizes=[[int(height), int(width), number] for (height, width), number in common],
        different_sizes=len(known),
        smallest=list(map(int, by_area[0])) if by_area else None,
        largest=list(map(int, by_area[-1])) if by_area else None,
        classes=classes,
        ignored=ignored,
    )
