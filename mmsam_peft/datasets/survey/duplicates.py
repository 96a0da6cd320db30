"""Files that are the same image: one to train on, the other to test with, would be a leak."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path


def same_content(paths: Sequence[Path]) -> list[list[Path]]:
    """Groups of files that are equal, byte for byte. Only files of one size are read."""
    by_size = defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    groups = defaultdict(list)
    for same in by_size.values():
        for path in same if len(same) > 1 else ():
            groups[hashlib.sha256(path.read_bytes()).digest()].append(path)
    return [group for group in groups.values() if len(group) > 1]
