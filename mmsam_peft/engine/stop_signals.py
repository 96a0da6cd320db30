"""Signals that ask a training to end."""

import signal
import time

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
TWICE = 2
"""Seconds within which a second Ctrl-C is the first: a terminal and a launcher each pass it on."""


class StopSignals:
    """While this context lasts, SIGTERM, SIGUSR1 (Slurm, spot machines) and the first Ctrl-C are
    only written down, so that training can finish its step and save; a second Ctrl-C ends the
    process at once. Before :meth:`arm` there is nothing to save, and every signal ends it.

    Attributes:
        asked: The signal that came, or 0.
    """

    def __init__(self) -> None:
        self.asked, self.since, self.armed = 0, 0.0, False

    def __enter__(self) -> 'StopSignals':
        self.before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def arm(self) -> None:
        self.armed = True

    def _handle(self, number: int, _) -> None:
        again = number == signal.SIGINT == self.asked and time.monotonic() - self.since > TWICE
        if again or not self.armed:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)
        if not self.asked:
            self.asked, self.since = number, time.monotonic()
