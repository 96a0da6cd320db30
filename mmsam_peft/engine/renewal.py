"""Adapter files of a resumed training."""

from pathlib import Path

from mmengine.runner import Runner
from torch import nn

from ..adapters.file import write_adapter
from ..adapters.match import adapter_state
from ..safe_load import load_safetensors, load_weights
from .provenance import header_with_scores


def renew_adapters(model: nn.Module, header: dict, runner: Runner, names: dict[str, str]) -> None:
    """Writes those adapters again that are not their checkpoints' weights, because a process was
    killed between the two files.

    Args:
        names: Adapter files by the key of their checkpoint in the message hub.
    """
    for key, name in names.items():
        checkpoint, path = Path(runner.message_hub.get_info(key)), Path(runner.work_dir) / name
        if not checkpoint.is_file():
            continue
        tensors = adapter_state(model, load_weights(checkpoint)['state_dict'])
        if not _holds(path, tensors):
            write_adapter(tensors, header_with_scores(header, runner, key), path)
            runner.logger.info(f'{path} was older than {checkpoint.name} and is written again.')


def _holds(path: Path, tensors: dict) -> bool:
    try:
        found, _ = load_safetensors(path)
    except (OSError, ValueError):  # not there, or damaged
        return False
    return found.keys() == tensors.keys() and all(
        value.equal(tensors[key]) for key, value in found.items()
    )
