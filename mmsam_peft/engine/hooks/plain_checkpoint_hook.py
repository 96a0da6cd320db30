"""Checkpoints that load with ``weights_only=True``."""

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Keeps objects out of checkpoints: MMEngine's log histories become tensors while saved, numpy
    values plain numbers."""

    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint.update(
            {key: plain(value) for key, value in checkpoint.items() if key != 'state_dict'}
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for key, value in scalars.items():
            if isinstance(value, dict):
                scalars[key] = HistoryBuffer(
                    value['history'].numpy(), value['count'].numpy(), value['max_length']
                )


def plain(value):
    """``value`` with containers rebuilt and everything in them a tensor, a number, a string or
    None."""
    if isinstance(value, HistoryBuffer):
        history, count = value.data
        return dict(
            history=torch.as_tensor(history),
            count=torch.as_tensor(count),
            max_length=value.max_length,
        )
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return (
            type(value)(map(plain, value))
            if type(value) in (list, tuple)
            else [plain(item) for item in value]
        )
    return value
