"""Random transforms that depend on nothing but the seed and the number of the sample.

Every sample that training draws has a number: how many were drawn before it, in all epochs and by
all processes. Its random transforms are seeded by that number. So they are the same with any number
of workers, whatever was loaded before in the same process, and a training that goes on in the
middle of an epoch need not load again what it has seen.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from torch.utils.data import DataLoader, Sampler

from ..datasets.feature_cache import seeded


class Numbered(int):
    """An index that knows the ``number`` of its draw."""


class NumberedSampler(Sampler):
    """Gives the indices of ``sampler`` their numbers.

    Attributes:
        epoch: Of the next pass.
        skip: How many indices the next pass leaves out.
        start: The number of the first index of an endless sampler that does not begin at its first.
    """

    def __init__(self, sampler: Sampler, rank: int, world_size: int) -> None:
        self.sampler, self.rank, self.world_size = sampler, rank, world_size
        self.epoch = self.skip = self.start = 0

    def __iter__(self) -> Iterator[Numbered]:
        skip, first = self.skip, self.start + self.epoch * len(self.sampler)
        self.epoch, self.skip = self.epoch + 1, 0
        for position, index in enumerate(islice(self.sampler, skip, None), first + skip):
            index = Numbered(index)
            index.number = position * self.world_size + self.rank
            yield index

    def __len__(self) -> int:
        return len(self.sampler)


class SeededItems:
    """What ``DataLoader`` calls for the samples of a batch where a data set has
    ``__getitems__``."""

    def __init__(self, dataset: Sequence, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __call__(self, indices: list[int]) -> list:
        return [self.item(index) for index in indices]

    def item(self, index: int):
        if not isinstance(index, Numbered):
            return self.dataset[index]
        with seeded(self.seed, index.number):
            return self.dataset[int(index)]


def number_samples(
    loader: DataLoader, seed: int, rank: int, world_size: int
) -> NumberedSampler | None:
    """Seeds each sample of ``loader`` by its number. None: its batches are not made from a
    sampler's indices."""
    batches = loader.batch_sampler
    if not isinstance(getattr(batches, 'sampler', None), Sampler) or hasattr(
        loader.dataset, '__getitems__'
    ):
        return None
    batches.sampler = NumberedSampler(batches.sampler, rank, world_size)
    loader.dataset.__getitems__ = SeededItems(loader.dataset, seed)
    return batches.sampler


def keep_workers(loader: DataLoader) -> None:
    """Lets the workers of ``loader`` survive a signal to end that reaches the whole process group;
    they end when their trainer says so, or is gone."""
    loader.worker_init_fn = partial(_init_worker, loader.worker_init_fn)


def _init_worker(init: Callable | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if init:
        init(worker)


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass  # the trainer has got it too: it may need more samples to finish its step
    os._exit(0)
