"""The ``mmsam_peft`` scope: a child of each of MMSegmentation's registries, plus ``PEFT``,
``TASKS`` and ``WEIGHTINGS``.

With ``default_scope = 'mmsam_peft'`` a config finds our modules, MMSegmentation's and MMEngine's by
bare names. MMEngine imports only the locations of the registry it asks, never its parent's, so each
child also lists its parent's locations.
"""

import mmseg.registry as mmseg
from mmengine.registry import Registry

SCOPE = 'mmsam_peft'


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(
        parent.name,
        parent=parent,
        scope=SCOPE,
        locations=[*parent._locations, *(locations or [SCOPE])],
    )


RUNNERS = _child(mmseg.RUNNERS)
RUNNER_CONSTRUCTORS = _child(mmseg.RUNNER_CONSTRUCTORS)
LOOPS = _child(mmseg.LOOPS)
HOOKS = _child(mmseg.HOOKS, 'mmsam_peft.engine', 'mmsam_peft.apis.settings_hook')
DATASETS = _child(mmseg.DATASETS, 'mmsam_peft.datasets')
DATA_SAMPLERS = _child(mmseg.DATA_SAMPLERS)
TRANSFORMS = _child(mmseg.TRANSFORMS, 'mmsam_peft.datasets')
MODELS = _child(mmseg.MODELS, 'mmsam_peft.models')
MODEL_WRAPPERS = _child(mmseg.MODEL_WRAPPERS)
WEIGHT_INITIALIZERS = _child(mmseg.WEIGHT_INITIALIZERS)
OPTIMIZERS = _child(mmseg.OPTIMIZERS)
OPTIM_WRAPPERS = _child(mmseg.OPTIM_WRAPPERS, 'mmsam_peft.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmseg.OPTIM_WRAPPER_CONSTRUCTORS, 'mmsam_peft.engine')
PARAM_SCHEDULERS = _child(mmseg.PARAM_SCHEDULERS)
METRICS = _child(mmseg.METRICS, 'mmsam_peft.evaluation')
EVALUATOR = _child(mmseg.EVALUATOR)
TASK_UTILS = _child(mmseg.TASK_UTILS)
VISUALIZERS = _child(mmseg.VISUALIZERS, 'mmsam_peft.engine')
VISBACKENDS = _child(mmseg.VISBACKENDS)
LOG_PROCESSORS = _child(mmseg.LOG_PROCESSORS)
INFERENCERS = _child(mmseg.INFERENCERS, 'mmsam_peft.apis')

PEFT = Registry('peft', scope=SCOPE, locations=['mmsam_peft.peft'])
"""Fine-tuning methods: ``PEFT.build(dict(type='ConvLoRA', rank=3))``."""

TASKS = Registry('task', scope=SCOPE, locations=['mmsam_peft.tasks'])
"""Kinds of dense tasks: ``TASKS.build(dict(type='Depth', name='depth'))``."""

WEIGHTINGS = Registry('weighting', scope=SCOPE, locations=['mmsam_peft.engine'])
"""How the tasks' losses, or their gradients, become one step:
``WEIGHTINGS.build(dict(type='PCGrad'))``."""
