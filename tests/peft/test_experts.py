import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmsam_peft.peft.experts import chosen_experts, plain_experts


@pytest.mark.parametrize('size', [(1, 1), (1, 5), (2, 3), (4, 4), (7, 5), (14, 14), (16, 9)])
@pytest.mark.parametrize('number', [1, 2, 8, 11])
def test_closed_form_is_the_plain_form(number, size):
    """Outputs and gradients of every expert, in float64."""
    torch.manual_seed(0)
    expert = torch.arange(2 * number) % number
    shapes = dict(z=(2 * number, *size, 3), weight=(number, 3, 3, 3, 3), bias=(number, 3))
    inputs = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes.values()
    ]
    closed, plain = chosen_experts(*inputs, expert), plain_experts(*inputs, expert)
    torch.testing.assert_close(closed, plain, rtol=1e-10, atol=1e-10)
    direction = torch.randn_like(plain)
    for got, expected in zip(
        *(torch.autograd.grad((y * direction).sum(), inputs) for y in (closed, plain)), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_nothing_is_as_large_as_the_upsampled_map():
    """The up-sampled map of expert 8 has 64 * 3 values a position; the closed form keeps no tensor
    of more than 48."""
    z = torch.randn(1, 16, 16, 3, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        chosen_experts(
            z,
            torch.randn(8, 3, 3, 3, 3, requires_grad=True),
            torch.randn(8, 3, requires_grad=True),
            torch.tensor([7]),
        )
    assert max(kept) <= 48 * 16 * 16


def test_compiles_as_one_graph():
    torch.manual_seed(0)
    inputs = (
        torch.randn(4, 6, 5, 3),
        torch.randn(4, 3, 3, 3, 3),
        torch.randn(4, 3),
        torch.tensor([0, 3, 1, 2]),
    )
    compiled = torch.compile(chosen_experts, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(*inputs), plain_experts(*inputs), rtol=1e-5, atol=1e-5)


def test_tables_without_values_are_not_remembered():
    """Steps are counted with such tensors, and training in the same process follows."""
    inputs = torch.randn(1, 5, 7, 2), torch.randn(3, 2, 2, 3, 3), torch.randn(3, 2)
    with FakeTensorMode(allow_non_fake_inputs=True):
        chosen_experts(*inputs, torch.tensor([1]))
    assert type(chosen_experts(*inputs, torch.tensor([1]))) is torch.Tensor
