"""One task of a multi-task config, alone."""

from os import PathLike
from pathlib import Path

from mmengine.config import Config

from ..adapters.header import ADAPTER, parse_header
from ..safe_load import load_safetensors
from ..tasks import build_tasks

RULES = dict(higher='greater', lower='less')


def keep_task(cfg: Config, name: str) -> None:
    """Leaves one task of a config: in model, data sets and metrics; the best checkpoint is chosen
    by a metric of it.

    Raises:
        ValueError: The config has no such task, or none at all.
    """
    tasks = cfg.model.get('tasks')
    if tasks is None:
        raise ValueError(
            f"{name!r} is asked for alone, but the config's model, {cfg.model.type}, has no tasks. "
            'Leave --task out, or use a config of several tasks, such as configs/talora/*.py.'
        )
    kept = [task for task in build_tasks(tasks) if task.name == name]
    if not kept:
        raise ValueError(
            f'{name!r} is asked for alone, but the config has the tasks '
            f'{", ".join(task["name"] for task in tasks)}: name one of these.'
        )
    _keep_everywhere(cfg._cfg_dict, name)
    peft = cfg.model.backbone.get('peft') or {}
    if 'num_tasks' in peft:
        peft.num_tasks = 1
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    best = checkpoint.get('save_best')
    if isinstance(best, str) and best != 'auto' and not best.startswith(f'{name}/'):
        metric = kept[0].main_metric
        checkpoint.update(save_best=f'{name}/{metric}', rule=RULES[kept[0].better[metric]])


def keep_trained_task(cfg: Config, weights: str | PathLike | None) -> None:
    """Leaves the task that an adapter was trained on alone; any other weights leave the config as
    it is."""
    tasks = [task['name'] for task in cfg.model.get('tasks') or ()]
    if len(tasks) > 1 and str(weights).endswith('.safetensors') and Path(weights).is_file():
        metadata = load_safetensors(weights)[1]
        header = parse_header(metadata[ADAPTER], weights) if ADAPTER in metadata else {'head': {}}
        trained = list(header['head'].get('channels') or ())
        if len(trained) == 1 and trained[0] in tasks:
            keep_task(cfg, trained[0])


def _keep_everywhere(node, name: str) -> None:
    if isinstance(node, dict):
        for key, value in list(node.items()):
            if key == 'tasks' and isinstance(value, list | tuple):
                node[key] = [task for task in value if task['name'] == name]
            else:
                _keep_everywhere(value, name)
    elif isinstance(node, list | tuple):
        for item in node:
            _keep_everywhere(item, name)
