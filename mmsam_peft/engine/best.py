"""By which score a training chooses its best checkpoint, and which that is."""

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner


def main_score(runner: Runner) -> str | None:
    """None where none is named."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            return next((name for name in hook.key_indicators if name != 'auto'), None)
    return None


def best_checkpoint(runner: Runner) -> str | None:
    """Of several, that of the first score in alphabetical order."""
    info = runner.message_hub.runtime_info
    return next((str(info[key]) for key in sorted(info) if key.startswith('best_ckpt')), None)
