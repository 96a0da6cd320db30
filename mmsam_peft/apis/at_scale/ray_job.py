"""The same job by Ray Data, for many or changing machines: the engine starts workers again, holds
reading back where computing is slow, and takes machines as they come."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .job import Job, Settings
from .manifest import Row
from .stores import Image

IMAGES_AT_ONCE = 32
"""That a worker gets; the last of them are repeated where it dies."""


class Worker:
    """A process with a model of its own. Images and rows come and go as JSON: names may have bytes
    that Arrow's texts cannot."""

    def __init__(self, settings: Settings, source: str, out: str, top: str) -> None:
        self.job = Job(settings.model(), settings, source, out, (top, []))

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        images = [Image(*json.loads(text)) for text in batch['image']]
        rows = self.job.run(images, part=os.getpid())
        return dict(row=np.array([json.dumps(row) for row in rows]))


def run_with_ray(
    settings: Settings, source: str, out: str, workers: int, gpus: float = 0, cpus: float = 1
) -> Iterator[Row]:
    """Predicts what is left of a job, and yields a row for each image as it is done. Every machine
    has to see the images, the outputs and the weights under the same names.

    Args:
        workers: Processes with a model, at most; Ray begins with one, and starts more as there is
            room.
        gpus, cpus: That a worker takes.

    Raises:
        ImportError: Ray is not installed.
        FileExistsError, FileNotFoundError, ValueError: See ``Job``.
    """
    try:
        import ray
        from ray.data import ActorPoolStrategy
    except ImportError as error:
        raise ImportError(
            "This needs Ray: pip install 'mmsam_peft[ray]', or pip install -e '.[ray]' in a copy "
            'of the project. Without it: tools/dist_predict.sh.'
        ) from error
    settings, source, out = _from_anywhere(settings), _whole_path(source), _whole_path(out)
    job = Job(settings.model('cpu'), settings, source, out)
    left = job.left()
    if not left:
        return
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    blocks = -(-len(left) // IMAGES_AT_ONCE)
    items: list[Any] = [dict(image=json.dumps(image)) for image in left]
    rows = ray.data.from_items(items, override_num_blocks=blocks).map_batches(
        Worker,
        fn_constructor_args=(settings, source, out, job.top),
        compute=ActorPoolStrategy(min_size=1, max_size=workers),
        batch_size=IMAGES_AT_ONCE,
        num_cpus=cpus,
        num_gpus=gpus,
    )
    for row in rows.iter_rows():
        yield Row(*json.loads(row['row']))


def _from_anywhere(settings: Settings) -> Settings:
    """With whole paths: workers may start in another folder."""
    given = dict(weights=settings.weights, config=settings.config, checkpoint=settings.checkpoint)
    options = {key: _path_if_any(value) for key, value in (settings.options or {}).items()}
    return replace(
        settings, options=options, **{key: _path_if_any(value) for key, value in given.items()}
    )


def _path_if_any(value: Any) -> Any:
    return os.path.abspath(value) if isinstance(value, str) and os.path.exists(value) else value


def _whole_path(place: str) -> str:
    return place if '://' in place else os.path.abspath(place)
