"""One training at a time in a work directory, and nothing of an earlier one overwritten."""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmengine.config import Config

from ..engine.checkpoints import RESULTS, set_aside

LOCK = 'training.lock'
BEAT, DEAD = 30, 300
"""Every how many seconds a training touches its lock; after how many without it is taken for dead,
on another host."""


@contextmanager
def locked(work_dir: str | os.PathLike) -> Iterator[None]:
    """Keeps other trainings out of ``work_dir`` as long as the context lasts.

    The system frees the lock of a process that dies, however it dies; the file that it leaves is
    stale then, and is replaced. For a process on another host, only the age of the file tells.

    Raises:
        RuntimeError: A training is under way there.
    """
    path = Path(work_dir) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a+') as file:
        _take(file, path)
        ended = threading.Event()
        threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            path.unlink(missing_ok=True)


def make_room(cfg: Config) -> None:
    """Before a training that does not resume: moves checkpoints and adapters of an earlier one into
    ``previous/DATE``.

    Raises:
        ValueError: The training is to start from one of these files.
    """
    folder = Path(cfg.work_dir).resolve()
    there = [path for path in folder.iterdir() if RESULTS.fullmatch(path.name) and path.is_file()]
    start = {'load_from': cfg.get('load_from'), 'model.checkpoint': cfg.model.get('checkpoint')}
    for key, named in start.items():
        if named and Path(named).resolve() in there:
            raise ValueError(
                f'{key}={named} lies in the work directory, whose files make room for those of the '
                'new training. Choose another --work-dir, or --resume.'
            )
    if there:
        place = set_aside(folder, there)
        print(
            f'{folder} holds an earlier training: its {len(there)} checkpoints and adapters are '
            f'now in {place}',
            flush=True,
        )


def _take(file, path: Path) -> None:
    """Makes ``file``, the lock at ``path``, ours."""
    file.seek(0)
    owner, host = _owner(file.read()), socket.gethostname()
    age = time.time() - os.fstat(file.fileno()).st_mtime
    advice = (
        f'{path.parent} is in use by a training on {owner["host"]} (process {owner["pid"]}, '
        f'since {owner["since"]}). Choose another --work-dir, or wait until it has ended.'
    )
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RuntimeError(advice) from error
    if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
        raise RuntimeError(f'A training in {path.parent} ended this very moment: try again.')
    if owner['host'] not in (host, 'unknown') and age < DEAD:
        raise RuntimeError(
            f'{advice} If it was killed, wait {DEAD - age:.0f} seconds, or remove {path}.'
        )
    file.truncate(0)
    file.write(
        json.dumps(dict(host=host, pid=os.getpid(), since=time.strftime('%Y-%m-%d %H:%M:%S')))
    )
    file.flush()


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def _owner(text: str) -> dict:
    try:
        owner = json.loads(text)
        return {key: str(owner[key]) for key in ('host', 'pid', 'since')}
    except (ValueError, KeyError, TypeError):  # being written, or foreign
        return dict.fromkeys(('host', 'pid', 'since'), 'unknown')
