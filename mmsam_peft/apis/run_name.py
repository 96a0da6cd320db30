"""The default work directory: work_dirs/METHOD/NAME, and what the command line changed."""

import hashlib
import re
from pathlib import Path

LONGEST = 100
"""Characters of the part that says what was changed."""
NOT_SHOWN = (
    'work_dir',
    'experiment_name',
    'resume',
    'launcher',
    'log_level',
    'log_processor',
    'visualizer',
    'vis_backends',
    'env_cfg',
    'image_cache',
    'default_hooks.image_cache',
    'default_hooks.logger',
    'default_hooks.visualization',
    'test_dataloader',
    'test_evaluator',
    'test_cfg',
    'tta_model',
    'tta_pipeline',
)
NOT_SHOWN_OF_LOADERS = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor')


def run_name(
    config: str | Path, options: dict | None = None, task: str | None = None, amp: str | None = None
) -> str:
    """METHOD/NAME, or METHOD/NAME_arch=huge_peft.rank=8: the same for the same run, and another for
    any other.

    It shows the options, in alphabetical order and without ``model.backbone.``, the one task and
    the precision. It leaves out what does not change the training: loggers, pictures, workers, the
    test set. Where characters were replaced, or a path or the whole was shortened, the name ends
    with eight digits that stand for all of it.

    Args:
        config: The config's path.
        options: ``--cfg-options``, values by dotted key.
        task: The one task that is trained.
        amp: Mixed precision of the training.
    """
    place = Path(config).resolve()
    shown = {
        key.removeprefix('model.backbone.'): value
        for key, value in (options or {}).items()
        if _changes_training(key)
    }
    shown |= {key: value for key, value in dict(task=task, amp=amp).items() if value}
    exact = [f'{key}={shown[key]}' for key in sorted(shown)]
    readable = [
        f'{_safe(key, "_")}={_safe(str(shown[key]).rstrip("/").rpartition("/")[2])}'
        for key in sorted(shown)
    ]
    changes = ''.join(f'_{text}' for text in readable)
    if readable != exact or len(changes) > LONGEST:
        changes = (
            f'{changes[:LONGEST]}_{hashlib.sha256(chr(0).join(exact).encode()).hexdigest()[:8]}'
        )
    return f'{place.parent.name}/{place.stem}{changes}'


def _changes_training(key: str) -> bool:
    return not (
        any(f'{key}.'.startswith(f'{name}.') for name in NOT_SHOWN)
        or key.endswith(NOT_SHOWN_OF_LOADERS)
    )


def _safe(text: str, also: str = '') -> str:
    """Letters, digits and marks that every file system and shell leaves alone."""
    return re.sub(rf'[^A-Za-z0-9.+{also}-]+', '-', text)
