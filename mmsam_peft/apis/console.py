"""What is shown on the screen of a tool: what is of use there. The log file has everything."""

import contextlib
import functools
import logging
import re
import sys
from pathlib import Path
from types import FrameType

from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from yapf.yapflib import yapf_api

PACKAGE = Path(__file__).parents[1]
SHOWN = ('apis', 'analysis', 'datasets', 'engine')
"""Rooms whose information is for the screen."""
WITHOUT_USE = re.compile(
    '"FileClient" will be deprecated|"HardDiskBackend" is the alias|'
    'Failed to search registry with scope|The prefix is not set in metric class|'
    'init_weights of .* has been called more than once|'
    r'`torch\.cuda\.amp\.|torch\.distributed\._all_gather_base'
)
"""Warnings about the insides of MMEngine and its family, on which a user cannot act."""
PLAIN = logging.Formatter('%(message)s')


class Console(logging.Handler):
    """MMEngine's handler for the screen, with only what is of use there. It also holds the line
    that is written over on a terminal."""

    def __init__(self, original: logging.StreamHandler) -> None:
        super().__init__(original.level)
        self.stream, self.line = original.stream, ''
        self.filters = list(original.filters)

    def emit(self, record: logging.LogRecord) -> None:
        text = PLAIN.format(record)
        if record.levelno >= logging.WARNING:
            if WITHOUT_USE.search(text):
                return
            text = f'{record.levelname}: {text}'
        elif not getattr(record, 'screen', _is_for_the_screen()):
            return
        self.say(text)

    def say(self, text: str) -> None:
        """Writes lines that stay."""
        self._write(f'{self._clear()}{text}\n')
        self.line = ''

    def progress(self, text: str) -> None:
        """Writes a line that the next one replaces; where there is no terminal, one that stays."""
        if not self.stream.isatty():
            self.say(text)
            return
        self._write(f'{self._clear()}{text}')
        self.line = text

    def _clear(self) -> str:
        return f'\r{" " * len(self.line)}\r' if self.line else ''

    def _write(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):  # the reader is gone
            self.stream.write(text)
            self.stream.flush()


class OurRunner(Runner):
    """MMEngine's runner, for schedules of short trainings too."""

    def _build_param_scheduler(self, scheduler: object, optim_wrapper: OptimWrapper) -> list:
        from ..engine.schedules import without_empty_parts

        parts = scheduler if isinstance(scheduler, list | tuple) else [scheduler]
        parts = without_empty_parts(parts, len(self.train_dataloader))
        return super()._build_param_scheduler(parts, optim_wrapper)


class QuietRunner(OurRunner):
    """MMEngine's runner; environment, config and order of the hooks go into the log file alone."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        return quieted(super().build_logger(*args, **kwargs))


def quieted(logger: MMLogger) -> MMLogger:
    """A logger whose lines for the screen go through ``Console``."""
    logger.handlers = [
        Console(handler) if type(handler) is logging.StreamHandler else handler
        for handler in logger.handlers
    ]
    return logger


def console_of(runner: Runner) -> Console | None:
    """The runner's console; None where it shows nothing: in all processes but the first."""
    found = next((one for one in runner.logger.handlers if isinstance(one, Console)), None)
    return found if found and found.level < logging.ERROR else None


def format_once() -> None:
    """MMEngine formats the same config for its log, its file, each checkpoint: from now on, a text
    is formatted once in this process."""
    if not hasattr(yapf_api.FormatCode, 'remembered'):
        original = yapf_api.FormatCode

        @functools.lru_cache(maxsize=4)
        def formatted(text: str, style: tuple) -> tuple:
            return original(text, style_config=dict(style))

        def remembered(text: str, style_config: dict | None = None, **others) -> tuple:
            if others or not isinstance(style_config, dict):
                return original(text, style_config=style_config, **others)
            return formatted(text, tuple(style_config.items()))

        remembered.remembered = True
        yapf_api.FormatCode = remembered


def _is_for_the_screen() -> bool:
    """Whether the code that logs at this moment is of a room that is shown."""
    frame: FrameType | None = sys._getframe(2)
    while frame and Path(frame.f_code.co_filename).parent.name == 'logging':
        frame = frame.f_back
    path = Path(frame.f_code.co_filename) if frame else Path()
    return path.is_relative_to(PACKAGE) and path.relative_to(PACKAGE).parts[0] in SHOWN
