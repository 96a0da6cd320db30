"""A validation part of a training set that comes without one."""

import hashlib
from collections.abc import Collection

from .checks.problems import DatasetError


def require_share(share: float) -> None:
    """Raises ValueError unless the share is in [0, 1)."""
    if not 0 <= share < 1:
        raise ValueError(
            f'got val_share={share}, expected a share of the training images from 0, none, to '
            'below 1'
        )


def held_out(names: Collection[str], share: float) -> set[str]:
    """The names that are held out: ``share`` of them, at least one and not all, the same on every
    machine.

    Those whose SHA-256 is smallest: an order that has nothing to do with how files are numbered.

    Raises:
        DatasetError: there are too few names.
    """
    if not share:
        return set()
    if len(names) < 2:
        raise DatasetError(
            f'got {len(names)} training images, expected two or more, of which to hold out '
            f'val_share={share}: add images, or set val_share=0'
        )
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return set(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)])
