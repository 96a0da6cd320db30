import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from mmengine.utils import ProgressBar

from ..labels import DEPTH_UNIT, encode_normals
from .objects import draw_instances
from .roads import draw_roads
from .shapes import draw_shapes

WORLDS = {'objects': draw_instances, 'roads': draw_roads, 'shapes': draw_shapes}
FOLDERS = {
    'objects': ('img_dir', 'ann_dir', 'instance_dir'),
    'roads': ('img_dir', 'ann_dir'),
    'shapes': ('img_dir', 'seg_dir', 'depth_dir', 'normals_dir'),
}
"""Where each of the arrays goes that a world draws."""
STORED = {
    'depth_dir': lambda depth: np.rint(depth / DEPTH_UNIT).astype(np.uint16),
    'normals_dir': encode_normals,
}
"""What becomes of an array that is not an image yet."""
SPLITS = {'train': 400, 'val': 50, 'test': 50}
VERSION = 3
"""To be raised with every change of what is drawn: data of another version is drawn again."""

_RECORD, _LOCK, _UNFINISHED = 'scenes.json', '.lock', '.unfinished'


def generate_scenes(
    root: str | os.PathLike,
    world: str,
    splits: Mapping[str, int] = SPLITS,
    seed: int = 0,
    size: int = 256,
) -> None:
    """Make sure that ``root`` holds ``splits`` (name: number of images) of ``world``, drawing only
    what is not there yet.

    Writes ``img_dir/<split>/*.png`` (RGB), the labels beside it, and ``scenes.json``, which records
    version, world, seed, size and the finished splits. Labels are ``ann_dir`` (values 0 and 1),
    of the objects also ``instance_dir`` (the number of the object); of the multi-task world
    ``seg_dir`` (class numbers), ``depth_dir`` (16 bit, millimetres) and ``normals_dir`` (RGB, see
    :func:`encode_normals`). Image ``i`` of a split is a function of
    (seed, split, i) alone, so a smaller set is the beginning of a larger one. A split is drawn in a
    hidden folder, moved into place when complete and only then recorded; a process that finds
    another one drawing waits and uses its result.

    Raises:
        ValueError: for an unknown world.
        FileExistsError: when ``root`` holds files that are not generated ones: they are left alone.
    """
    if world not in WORLDS:
        raise ValueError(f'got world={world!r}, expected one of {sorted(WORLDS)}')
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / _LOCK):
        record = dict(version=VERSION, world=world, seed=seed, size=size, splits={})
        found = _read_record(root)
        if {**found, 'splits': {}} == record:
            record = found
        for split, count in splits.items():
            if record['splits'].get(split) != count or _count(root, world, split) != count:
                record['splits'].pop(split, None)
                _write_record(root, record)
                _draw_split(root, split, count, record)
                record['splits'][split] = count
                _write_record(root, record)


def _read_record(root: Path) -> dict:
    path = root / _RECORD
    if path.exists():
        return json.loads(path.read_text())
    foreign = sorted(p.name for p in root.iterdir() if not p.name.startswith('.'))
    if foreign:
        raise FileExistsError(
            f'got {root.resolve()} with {", ".join(foreign[:5])} but no {_RECORD}, expected '
            'generated data '
            'or an empty folder: choose another data_root, or remove these files'
        )
    return {}


def _write_record(root: Path, record: dict) -> None:
    draft = root / f'{_UNFINISHED}.json'
    draft.write_text(json.dumps(record))
    os.replace(draft, root / _RECORD)


def _count(root: Path, world: str, split: str) -> int:
    """How many images have all their labels."""
    return len(
        set.intersection(
            *({p.name for p in (root / kind / split).glob('*.png')} for kind in FOLDERS[world])
        )
    )


def _draw_split(root: Path, split: str, count: int, record: dict) -> None:
    draft = root / _UNFINISHED
    shutil.rmtree(draft, ignore_errors=True)
    draw, folders = WORLDS[record['world']], FOLDERS[record['world']]
    for kind in folders:
        (draft / kind).mkdir(parents=True)
    print(f'drawing {count} {record["world"]} images in {root / "img_dir" / split}')
    bar = ProgressBar(count)
    for i in range(count):
        drawn = draw(np.random.default_rng([record['seed'], *split.encode(), i]), record['size'])
        for kind, pixels in zip(folders, drawn, strict=True):
            _save(draft / kind / f'{i:05d}.png', STORED[kind](pixels) if kind in STORED else pixels)
        if (i + 1) % 20 == 0 or i + 1 == count:  # few lines in a log file
            bar.update(i + 1 - bar.completed)
    print()
    for kind in folders:
        place = root / kind / split
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(exist_ok=True)
        os.replace(draft / kind, place)
    draft.rmdir()


def _save(path: Path, pixels: np.ndarray) -> None:
    """(H, W), or (H, W, 3) RGB."""
    if not cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels):
        raise OSError(f'could not write {path}: is the disk full, the folder writable?')
