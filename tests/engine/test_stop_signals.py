import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmsam_peft.engine import stop_signals
from mmsam_peft.engine.seeded_loading import keep_workers
from mmsam_peft.engine.stop_signals import SIGNALS, StopSignals


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_the_first_is_written_down_and_handlers_are_put_back(monkeypatch):
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignals() as signals:
        signals.arm()
        send(signal.SIGINT)
        send(signal.SIGINT)  # passed on twice
        send(signal.SIGTERM)
        assert signals.asked == signal.SIGINT
        monkeypatch.setattr(stop_signals, 'TWICE', -1)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    'number, error',
    [
        (signal.SIGTERM, SystemExit(143)),
        (signal.SIGUSR1, SystemExit(138)),
        (signal.SIGINT, KeyboardInterrupt()),
    ],
)
def test_before_training_there_is_nothing_to_save(number, error):
    with pytest.raises(type(error)) as raised, StopSignals():
        send(number)
    assert raised.value.args == error.args


class Pids(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return os.getpid()


def test_workers_survive_a_signal_to_the_process_group():
    loader = DataLoader(Pids(), num_workers=2, prefetch_factor=1)
    keep_workers(loader)
    batches = iter(loader)
    workers = {int(next(batches)), int(next(batches))}
    sender = os.fork()
    if not sender:  # not their parent
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        os._exit(0)
    os.waitpid(sender, 0)
    assert {int(torch.as_tensor(batch)) for batch in batches} == workers
    again = iter(loader)
    next(again)
    again._workers[0].terminate()  # their parent, as at its end
    again._workers[0].join(60)
    assert again._workers[0].exitcode == 0
