"""Padding of windows that is seen but not computed: the same outputs and gradients as where every
layer gets whole windows, which layers with hooks do."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmsam_peft.layers.windows import cell_by_cell
from mmsam_peft.peft import anatomy_of
from mmsam_peft.peft.hf_peft import ABLE

from .conftest import CASES, HOSTS
from .test_contract import adapted
from .test_hf_peft import config

WINDOWED = ['encoder', 'hiera', 'tiny_vit', 'sam3']
SOME = [case for case in CASES if case[1] in WINDOWED]


def linears(model):
    anatomy = anatomy_of(model)
    for block, parts in zip(anatomy.blocks, anatomy.parts, strict=True):
        for role in ('qkv', 'proj'):
            yield block.get_submodule(parts.paths(role)[0])


def results(model, host):
    """Everything that is trained, and the images, get gradients."""
    inputs = [x.to(next(model.parameters()).dtype).requires_grad_() for x in host.inputs()]
    leaves = [p for p in model.parameters() if p.requires_grad] + inputs
    y = host.run(model.eval(), inputs)
    return [y, *torch.autograd.grad((y**3).sum(), leaves, allow_unused=True)]


def assert_padding_is_the_same(model, host, dtype, tolerance):
    got = results(model.to(dtype), host)
    hooks = [layer.register_forward_hook(lambda *_: None) for layer in linears(model)]
    expected = results(model, host)
    for hook in hooks:
        hook.remove()
    for one, other in zip(got, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize('name, host', SOME)
def test_padding_is_seen_as_it_was(name, host):
    model = adapted((name, HOSTS[host]))
    assert_padding_is_the_same(model, HOSTS[host], torch.float64, 1e-10)
    assert_padding_is_the_same(model, HOSTS[host], torch.float32, 2e-5)


@pytest.mark.parametrize('targets', [('proj',), ('qkv', 'proj')])
@pytest.mark.parametrize('kind', ['LoRA', 'ConvLoRA'])
@pytest.mark.parametrize('host', ['encoder', 'hiera'])
def test_whatever_is_adapted(kind, targets, host):
    model = HOSTS[host].build(dict(type=kind, targets=targets))
    for name, parameter in model.named_parameters():
        if name in model.peft.added:
            parameter.data.normal_(std=0.1)
    assert_padding_is_the_same(model, HOSTS[host], torch.float64, 1e-10)


@pytest.mark.parametrize('kind', ABLE)
def test_tuners_of_hugging_face(kind):
    """In training too, as far as they draw nothing. Some compute in float32."""
    model = HOSTS['encoder'].build(config(kind))
    layer = next(linears(model))
    assert cell_by_cell(layer) == (kind != 'PVERA')
    assert_padding_is_the_same(model, HOSTS['encoder'], torch.float64, 1e-6)
    x = torch.zeros(1, 7, 32, dtype=torch.float64)
    if cell_by_cell(layer):
        assert layer.train()(x).unique(dim=1).shape[1] == 1


def test_what_is_only_padding_is_not_computed():
    """SAM's windowed block has 16 cells in windows of 36: W0 of LoRA gets these and a padded one,
    that of Conv-LoRA these alone."""
    rows = []

    class Rows(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten.addmm.default and args[2].shape[1] == 96:
                rows.append(len(args[1]))
            return function(*args, **(kwargs or {}))

    for kind, expected in (('LoRA', 17), ('ConvLoRA', 16)):
        model = HOSTS['encoder'].build(dict(type=kind))
        rows.clear()
        with Rows(), torch.no_grad():
            model(*HOSTS['encoder'].inputs(batch=1))
        assert rows[0] == expected and rows[1] == 16
