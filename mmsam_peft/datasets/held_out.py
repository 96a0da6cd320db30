"""A validation part of a training set that comes without one."""

import hashlib
from collections.abc import Iterable


def held_out(names: Iterable[str], share: float) -> set[str]:
    """The names that are held out: ``share`` of them, rounded, the same on every machine.

    Those whose SHA-256 is smallest: an order that has nothing to do with how files are numbered.

    Raises:
        ValueError: ``share`` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(
            f'got val_share={share}, expected a share of the training images from 0, none, to '
            'below 1'
        )
    ordered = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).digest())
    return set(ordered[: round(share * len(ordered))])
