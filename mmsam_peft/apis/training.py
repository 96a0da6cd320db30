"""Training as the tools do it."""

import os
from contextlib import ExitStack
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import mkdir_or_exist

from ..engine.checkpoints import newest_checkpoint
from ..engine.hooks.stop_hook import StopHook
from ..engine.stop_signals import StopSignals
from .launch import build_runner
from .out_of_memory import advice_on_memory
from .screen import ScreenHook
from .work_dir import locked, make_room


def train(cfg: Config, named: str | None = None, changed: bool = False) -> None:
    """Trains a config in its work directory, alone there; ends as signals ask; see
    docs/reliability.md.

    Args:
        named: How the user named the config, for the commands that come next.
        changed: Whether the command line changed it; the next commands then take the config that
            the training leaves in its work directory.

    Raises:
        RuntimeError: Another training is under way in the work directory.
        torch.OutOfMemoryError, RuntimeError, MemoryError: Memory does not suffice; the message ends
            with the command that says what fits.
        SystemExit: A signal came: 128 + its number.
    """
    with ExitStack() as stack:
        if process_rank() == 0:
            mkdir_or_exist(cfg.work_dir)
            stack.enter_context(locked(cfg.work_dir))
            if not cfg.get('resume'):
                make_room(cfg)
        signals = stack.enter_context(StopSignals())
        own = str(Path(cfg.work_dir) / Path(cfg.filename or 'config.py').name)
        stack.enter_context(
            advice_on_memory(
                [own, named or own] if changed or not named else [named],
                cfg.optim_wrapper.get('type') in ('AutocastOptimWrapper', 'AmpOptimWrapper'),
            )
        )
        runner = build_runner(cfg, quiet=True)
        runner.register_hook(ScreenHook(named or cfg.filename, changed))
        runner.register_hook(StopHook(signals))
        try:
            runner.train()
        except KeyboardInterrupt:
            where = newest_checkpoint(Path(cfg.work_dir))[0]
            saved = (
                f'The last checkpoint is {where}: to go on, run the same command with --resume.'
                if where
                else 'There is no checkpoint yet to go on from.'
            )
            runner.logger.warning(f'Ended at once by Ctrl-C. {saved}')
            raise


def process_rank() -> int:
    """The rank of this process among those of the launcher, before they talk to each other."""
    return int(
        next(
            (
                os.environ[name]
                for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
                if name in os.environ
            ),
            0,
        )
    )
