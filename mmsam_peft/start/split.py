"""Which images to train on, to validate and to test with: by seed, nothing is moved."""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np

from ..datasets.checks.problems import DatasetError
from ..datasets.survey.objects import MaskFacts
from ..datasets.survey.pairs import Pair
from ..datasets.survey.words import SPLITS

SHARES = (0.7, 0.15, 0.15)
LEAST_FOR_TEST = 5
"""Fewer images are not divided in three: a test on one image says nothing."""


def split(
    pairs: Sequence[Pair],
    facts: Mapping[Path, MaskFacts],
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    group_of: Callable[[Path], str] | None = None,
    copies: Sequence[Sequence[Path]] = (),
) -> dict[str, list[Pair]]:
    """Pairs by part: 'train', 'val' and, if there are enough or folders say so, 'test'.

    Where the folders divide the images, that stays; a part that they lack is taken out of the
    training images, the test part only if there is none of validation either. Otherwise images are
    dealt so that each part gets its share of every class and of images with much and little to see.

    Args:
        facts: what the masks show; images without are dealt by number alone.
        shares: of train, val and test.
        seed: two runs with the same one split alike.
        group_of: images of one group stay together.
        copies: groups of equal images, which stay together too.

    Raises:
        DatasetError: too few images or groups.
    """
    given = {part: [pair for pair in pairs if pair.split == part] for part in SPLITS}
    if given['train'] and (given['val'] or given['test']):
        free = [pair for pair in pairs if pair.split is None] + given['train']
        if given['val']:
            return _without_empty({**given, 'train': free})
        shares = (1 - shares[1], shares[1])
        dealt = _deal(free, facts, shares, seed, group_of, copies)
        return {**dealt, 'test': given['test']}
    wanted = shares if len(pairs) >= LEAST_FOR_TEST else (shares[0] + shares[2], shares[1])
    return _deal(pairs, facts, wanted, seed, group_of, copies)


def _deal(
    pairs: Sequence[Pair],
    facts: Mapping[Path, MaskFacts],
    shares: Sequence[float],
    seed: int,
    group_of: Callable[[Path], str] | None,
    copies: Sequence[Sequence[Path]],
) -> dict[str, list[Pair]]:
    """Iterative stratification (Sechidis et al., 2011) of groups: rare things first, each group to
    the part that lacks most of what it shows."""
    groups = _groups(pairs, group_of, copies)
    parts = [part for part, share in zip(SPLITS, shares, strict=False) if share > 0]
    shares = [share for share in shares if share > 0]
    if len(groups) < len(parts):
        raise DatasetError(
            f'got {len(pairs)} images in {len(groups)} groups, expected at least {len(parts)}, '
            f'for {", ".join(parts)}: add images, or group by another prefix'
        )
    things = _things(pairs, facts)
    contents = np.array(
        [np.sum([things[pair.image] for pair in group], axis=0) for group in groups]
    )
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    groups, contents = [groups[number] for number in order], contents[order]
    left = np.ones(len(groups), bool)
    lacking = np.outer(shares, contents.sum(0)) / sum(shares)
    dealt: dict[str, list[Pair]] = {part: [] for part in parts}
    for number_left in range(len(groups), 0, -1):
        holding = (contents[left] > 0).sum(0)
        rarest = int(np.argmin(np.where(holding > 0, holding, np.inf)))
        number = int(np.argmax(np.where(left, contents[:, rarest], -1)))
        empty = [place for place, part in enumerate(parts) if not dealt[part]]
        place = (
            empty[0]
            if number_left <= len(empty)
            else max(range(len(parts)), key=lambda i: (lacking[i, rarest], lacking[i, -1], -i))
        )
        dealt[parts[place]] += groups[number]
        lacking[place] -= contents[number]
        left[number] = False
    return {part: sorted(same, key=lambda pair: pair.image) for part, same in dealt.items()}


def _things(pairs: Sequence[Pair], facts: Mapping[Path, MaskFacts]) -> dict[Path, np.ndarray]:
    """By image, what is to be shared out, as ones and zeros: each class but 0; to which third the
    image belongs by how much it shows of them; and, last, the image itself."""
    known = [facts[pair.image] for pair in pairs if pair.image in facts]
    tops = [int(np.flatnonzero(one.pixels[:255]).max(initial=0)) for one in known]
    classes = max(tops, default=0)
    covered = {
        pair.image: facts[pair.image].pixels[1:255].sum() / max(1, facts[pair.image].pixels.sum())
        for pair in pairs
        if pair.image in facts
    }
    limits = np.quantile(list(covered.values()), [1 / 3, 2 / 3]) if covered else [0, 0]
    things = {}
    for pair in pairs:
        row = np.zeros(classes + 3 + 1)
        row[-1] = 1
        if pair.image in facts:
            row[:classes] = facts[pair.image].pixels[1 : classes + 1] > 0
            row[classes + int(np.searchsorted(limits, covered[pair.image]))] = 1
        things[pair.image] = row
    return things


def _groups(
    pairs: Sequence[Pair],
    group_of: Callable[[Path], str] | None,
    copies: Sequence[Sequence[Path]],
) -> list[list[Pair]]:
    """Pairs that stay together, in order: of one group, or with equal images."""
    names = {pair.image: group_of(pair.image) if group_of else str(pair.image) for pair in pairs}
    joined = dict(zip(names.values(), names.values(), strict=True))

    def root(name: str) -> str:
        while joined[name] != name:
            name = joined[name]
        return name

    for same in copies:
        known = [names[path] for path in same if path in names]
        for other in known[1:]:
            joined[root(other)] = root(known[0])
    groups = defaultdict(list)
    for pair in pairs:
        groups[root(names[pair.image])].append(pair)
    return [*groups.values()]


def prefix_of(letters: int, root: Path) -> Callable[[Path], str]:
    """The group of an image: the folder it is in below ``root``, and of its name the first
    ``letters``, or, with 0, what comes before its last number: 'patient7_slice' of
    patient7_slice012.png."""

    def group(path: Path) -> str:
        place = PurePath(path).relative_to(root)
        stem = place.name.partition('.')[0]
        prefix = re.sub(r'[\W_]*\d+\D*$', '', stem) if letters == 0 else stem[:letters]
        return f'{place.parent}/{prefix}'

    return group


def _without_empty(parts: dict[str, list[Pair]]) -> dict[str, list[Pair]]:
    return {part: pairs for part, pairs in parts.items() if pairs}
