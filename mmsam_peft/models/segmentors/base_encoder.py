"""The encoder as it was before it was tuned."""

import copy

import torch
from torch import Tensor, nn

from ...registry import MODELS
from ..backbones.frozen_prefix import Encoded


class BaseEncoder:
    """A model's encoder as its base weights make it, beside the one that is tuned.

    It is none of the model's modules: no optimizer, file or parallel training sees it. What the
    model has frozen are the same tensors here; what it trains of its own is held twice.

    Args:
        model: With its base weights, before anything of it is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        cfg = copy.deepcopy(model.made_of['backbone'])
        for name in ('unfreeze', 'compile', 'checkpoint'):
            cfg.pop(name, None)
        encoder = MODELS.build({**cfg, 'peft': dict(type='Frozen')})
        own, state = dict(model.backbone.named_parameters()), model.backbone.state_dict()
        encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
        encoder.to(next(model.parameters()).device).requires_grad_(False)
        for name in [name for name, _ in encoder.named_parameters()]:
            if not own[name].requires_grad:
                path, _, last = name.rpartition('.')
                encoder.get_submodule(path)._parameters[last] = own[name]
        self.encoder, self.neck = encoder.eval(), model.neck if model.with_neck else None

    @torch.no_grad()
    def __call__(self, inputs: Tensor | Encoded) -> tuple[Tensor, ...]:
        """The maps of a batch of images, or of what the frozen beginning made of them."""
        if isinstance(inputs, Encoded):
            maps = inputs.prefix.of(self.encoder).finish(inputs.map)
        else:
            maps = self.encoder(inputs)
        return maps if self.neck is None else self.neck(maps)
