import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.registry import OPTIM_WRAPPER_CONSTRUCTORS

ARCH = dict(
    embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
ADAMW = dict(type='AdamW', lr=1e-3, weight_decay=0.1)


def build(model: nn.Module, **settings) -> OptimWrapper:
    return OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(type='TrainedParamsConstructor', optim_wrapper_cfg=dict(optimizer=ADAMW, **settings))
    )(model)


def test_groups_hold_what_is_trained_and_decay_all_but_biases_and_norms():
    model = SAMViT(ARCH, img_size=64, peft=dict(type='ConvLoRA'), unfreeze=['neck'])
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, others = build(model).optimizer.param_groups
    assert (decayed['weight_decay'], others['weight_decay']) == (0.1, 0.0)
    layers = [f'blocks.{i}.attn.qkv.lora_' for i in (0, 1)]
    weights = {
        layer + name for layer in layers for name in ('A', 'B', 'conv_weight', 'w_gate', 'w_noise')
    }
    assert {names[id(p)] for p in decayed['params']} == weights | {'neck.0.weight', 'neck.2.weight'}
    norms = {f'neck.{i}.{kind}' for i in (1, 3) for kind in ('weight', 'bias')}
    assert {names[id(p)] for p in others['params']} == {
        f'{layer}conv_bias' for layer in layers
    } | norms


def test_wrapper_settings_are_kept(scope):
    config = dict(
        constructor='TrainedParamsConstructor',
        optimizer=ADAMW,
        clip_grad=dict(max_norm=1.0),
        accumulative_counts=2,
    )
    wrapper = build_optim_wrapper(nn.Linear(2, 2), config)
    assert type(wrapper) is OptimWrapper and wrapper.clip_grad_kwargs == dict(max_norm=1.0)
    assert wrapper._accumulative_counts == 2 and isinstance(wrapper.optimizer, torch.optim.AdamW)


@pytest.mark.parametrize('kind', ['bias', 'weight'])
def test_one_kind_of_parameters_only(kind):
    model = nn.Linear(2, 2)
    getattr(model, kind).requires_grad_(False)
    wrapper = build(model)
    x = torch.ones(1, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wrapper.update_params(model(x).square().sum())
    assert [name for name, value in model.state_dict().items() if value.equal(before[name])] == [
        kind
    ]


def test_nothing_to_train():
    with pytest.raises(ValueError, match='The model has no trained parameter'):
        build(SAMViT(ARCH, img_size=64, peft=dict(type='Frozen')))


def test_paramwise_settings_are_refused():
    with pytest.raises(
        ValueError,
        match="no paramwise_cfg: set optim_wrapper.constructor to 'DefaultOptimWrapperConstructor'",
    ):
        OPTIM_WRAPPER_CONSTRUCTORS.build(
            dict(
                type='TrainedParamsConstructor',
                optim_wrapper_cfg=dict(optimizer=ADAMW),
                paramwise_cfg=dict(norm_decay_mult=0),
            )
        )
