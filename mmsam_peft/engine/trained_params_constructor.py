"""An optimizer over what is trained."""

from mmengine.optim import OptimWrapper
from torch import nn

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainedParamsConstructor:
    """Gives the optimizer the parameters that require gradients, and no other: frozen ones cannot
    drift, and take no room in checkpoints. Biases, stacked ones too, and everything with one
    dimension, such as norms, are not decayed.

    For learning rates by name use MMEngine's ``DefaultOptimWrapperConstructor``.

    Raises:
        ValueError: The model has nothing to train.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg:
            raise ValueError(
                'TrainedParamsConstructor has no paramwise_cfg: set optim_wrapper.constructor to '
                "'DefaultOptimWrapperConstructor' to use it."
            )
        self.wrapper_cfg = {'type': 'OptimWrapper', **optim_wrapper_cfg}
        self.optimizer_cfg = self.wrapper_cfg.pop('optimizer')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        decayed, others = [], []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                (decayed if parameter.ndim > 1 and not name.endswith('bias') else others).append(
                    parameter
                )
        if not decayed + others:
            raise ValueError(
                'The model has no trained parameter: its PEFT method and its decode head leave all '
                'frozen.'
            )
        groups = [dict(params=decayed), dict(params=others, weight_decay=0.0)]
        optimizer = OPTIMIZERS.build(
            {**self.optimizer_cfg, 'params': [group for group in groups if group['params']]}
        )
        return OPTIM_WRAPPERS.build({**self.wrapper_cfg, 'optimizer': optimizer})
