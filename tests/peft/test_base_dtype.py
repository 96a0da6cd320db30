"""Every method on a base stored in fewer bits: it computes what it would with the same numbers in
float32, or says why it cannot."""

import pytest
import torch

from mmsam_peft.layers.storage import is_packed
from mmsam_peft.peft import count_parameters
from mmsam_peft.registry import PEFT

from .conftest import HOSTS

REFUSED = {'Full', 'HFPeft'}
METHODS = sorted(PEFT.module_dict.keys() - REFUSED)


def build(name, way, host='encoder', **settings):
    model = HOSTS[host].build(dict(type=name), base_dtype=way, **settings)
    torch.manual_seed(1)
    for key, parameter in model.named_parameters():
        if key in model.peft.added:
            parameter.data += torch.randn_like(parameter) * 0.05
    return model


def step(model, host='encoder'):
    """The map and all gradients."""
    torch.manual_seed(0)
    y = HOSTS[host].run(model.train(), HOSTS[host].inputs())
    loss = (y * torch.randn_like(y)).sum() + sum(model.peft.aux_losses(model).values())
    if loss.requires_grad:
        loss.backward()
    return [y, *(p.grad for _, p in sorted(model.named_parameters()) if p.grad is not None)]


def pair(name, way, host='encoder', **settings):
    """A model, and one with its numbers in float32."""
    model, wide = build(name, way, host, **settings), build(name, 'float32', host, **settings)
    wide.load_state_dict(model.state_dict())
    return model, wide


@pytest.mark.parametrize('way', ['bfloat16', 'nf4'])
@pytest.mark.parametrize('name', METHODS)
def test_it_computes_as_with_the_same_numbers_in_float32(name, way, relative):
    model, wide = pair(name, way)
    assert count_parameters(model) == count_parameters(wide)
    kinds = {p.dtype for p in model.parameters() if p.requires_grad}
    assert kinds <= {torch.float32}, 'what is trained stays in float32'
    found, expected = step(model), step(wide)
    assert len(found) == len(expected) > (name != 'Frozen')
    for one, other in zip(found, expected, strict=True):
        assert one.equal(other) or relative(one, other) < 1e-4  # DoRA multiplies after the product


@pytest.mark.parametrize('way', ['bfloat16', 'int8', 'nf4'])
@pytest.mark.parametrize('host', ['hiera', 'tiny_vit', 'sam3', 'efficient_sam', 'dinov2', 'dinov3'])
def test_in_every_encoder(host, way, relative):
    model, wide = pair('LoRA', way, host)
    found, expected = step(model, host), step(wide, host)
    assert max(relative(one, other) for one, other in zip(found, expected, strict=True)) < 1e-4
    frozen = [p for name, p in model.named_parameters() if name not in model.peft.trained_names]
    assert any(p.dtype == torch.bfloat16 or is_packed(p) for p in frozen)


@pytest.mark.parametrize('way', ['bfloat16', 'int8'])
def test_with_checkpointing(way):
    model, again = build('ConvLoRA', way), build('ConvLoRA', way, checkpointing=True)
    assert all(a.equal(b) for a, b in zip(step(model), step(again), strict=True))


@pytest.mark.parametrize('way', ['bfloat16', 'int8', 'nf4'])
@pytest.mark.parametrize(
    'name', [name for name in METHODS if PEFT.get(name).merges != 'no' and name != 'Frozen']
)
def test_merging_loses_nothing_of_the_update(name, way, relative):
    """Merged weights are float32; out again, the stored ones come back bit for bit."""
    model = build(name, way).eval()
    before = [p.detach().clone() for p in model.parameters()]
    x = HOSTS['encoder'].inputs()
    with torch.no_grad():
        apart = HOSTS['encoder'].run(model, x)
        model.peft.merge(model)
        merged = HOSTS['encoder'].run(model, x)
        model.peft.unmerge(model)
    assert relative(merged, apart) < 1e-5
    assert all(
        a.dtype == b.dtype and a.equal(b) for a, b in zip(before, model.parameters(), strict=True)
    )


def test_what_is_unfrozen_is_trained_in_float32():
    model = build('LoRA', 'bfloat16', unfreeze=['blocks.1.mlp'])
    kinds = {name: p.dtype for name, p in model.named_parameters()}
    assert kinds['blocks.1.mlp.lin1.weight'] == torch.float32
    assert kinds['blocks.0.mlp.lin1.weight'] == torch.bfloat16
    assert kinds['blocks.0.norm1.weight'] == kinds['pos_embed'] == torch.float32


@pytest.mark.parametrize('name', sorted(REFUSED))
def test_refusals_name_the_method_and_those_that_can(name):
    with pytest.raises(ValueError, match=rf'{name} .*such as LoRA|{name} .*LoRA'):
        build(name, 'bfloat16')


def test_refuses_a_model_without_a_method_and_a_misspelt_storage():
    with pytest.raises(ValueError, match='no method'):
        HOSTS['encoder'].build(None, base_dtype='bfloat16')
    with pytest.raises(ValueError, match=r"'bf16' is unknown: use one of float32, bfloat16, int8"):
        build('LoRA', 'bf16')
    late = HOSTS['encoder'].build(dict(type='Full', blocks='last:1'), base_dtype='bfloat16')
    assert late.blocks[0].attn.qkv.weight.dtype == torch.bfloat16  # some of it is frozen
