"""What an adapted linear layer costs beside the frozen one, by counts that no other load on the
machine can disturb."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mmsam_peft.peft.conv_lora import ConvLoRALinear
from mmsam_peft.peft.dora import DoRALinear, Gain
from mmsam_peft.peft.lora import LoRALinear, low_rank_linear
from mmsam_peft.peft.ta_lora import TALoRALinear
from mmsam_peft.peft.task_lora import TaskLoRALinear

IN, OUT, RANK, SIDE = 64, 192, 3, 24
BATCH = 3  # or three tasks of one image


class New(TorchDispatchMode):
    """Counts the tensors with memory of their own, by number of values, that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {
            x.untyped_storage().data_ptr()
            for x in tree_leaves((args, kwargs))
            if isinstance(x, Tensor)
        }
        out = function(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        self.sizes += [x.numel() for x in made if x.untyped_storage().data_ptr() not in given]
        return out


@pytest.fixture
def base() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(IN, OUT).requires_grad_(False)


@pytest.fixture(params=['LoRA', 'ConvLoRA', 'DoRA', 'TALoRA', 'TaskLoRA'])
def layer(request, base) -> nn.Module:
    return dict(
        LoRA=lambda: LoRALinear(base, RANK, 8),
        DoRA=lambda: DoRALinear(base, RANK, 8),
        ConvLoRA=lambda: ConvLoRALinear(base, RANK, 8, 4, False),
        TALoRA=lambda: TALoRALinear(base, BATCH, (RANK, RANK, 2), 0.5, 0.1),
        TaskLoRA=lambda: TaskLoRALinear(base, BATCH, RANK, 8, 0),
    )[request.param]().train()


def image() -> Tensor:
    return torch.randn(BATCH, SIDE, SIDE, IN, requires_grad=True)


def test_nothing_as_wide_as_the_output_is_made_beside_it(base, layer):
    """Forward and backward; the usual form makes four more such tensors."""

    def wide(module: nn.Module) -> int:
        x = image()
        with New() as new:
            y = module(x)
            y.backward(torch.ones_like(y))  # which is one too, of both
        return sum(size >= y.numel() for size in new.sizes)

    assert wide(layer) == wide(base) == 2


def test_what_is_kept_for_the_backward_pass(layer):
    """The input, the mask of a dropout (a byte a value), thin things and weights. DoRA keeps its
    output, which whoever needs it keeps as well, and the scaled weight."""
    x, kept = image(), {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = layer(x)
    for parameter in layer.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    rows, extra = BATCH * SIDE * SIDE, 0
    if isinstance(layer, DoRALinear):
        extra = y.nbytes + layer.weight.nbytes
    elif isinstance(layer, TALoRALinear):
        extra = x.numel()
    elif isinstance(layer, ConvLoRALinear):
        extra = (
            4 * rows * (2 * 4 * 4 * RANK + 5 * 4 * RANK + 3 * 3 * RANK)
        )  # what two separable products and GELU need
    assert sum(kept.values()) <= x.nbytes + extra + 4 * (
        4 * rows * RANK + 8 * (IN + OUT) * RANK * BATCH
    )


def test_operations(base, layer):
    """The thin products, forward and twice backward, as of a trained linear layer; and those of the
    experts, whose tables of 4 x 3 values for each pair of rows, or columns, have no gradient."""

    def flops(module: nn.Module) -> int:
        with FlopCounterMode(display=False) as counter:
            module(image()).sum().backward()
        return counter.get_total_flops()

    rows = BATCH * SIDE**2
    thin = 3 * 2 * rows * RANK * (IN + OUT)
    experts = rows * (3 * 2 * 9 * RANK**2 + 2 * 2 * 12 * (3 + 4) * SIDE * RANK)
    assert flops(layer) <= flops(base) + 1.1 * thin + experts * isinstance(layer, ConvLoRALinear)


def test_gradient_of_b_is_a_product_of_rows(base):
    """z^T g, (r, N) x (N, out), and not (g^T z)^T, (out, N) x (N, r)."""
    shapes = []

    class Shapes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten.mm.default:
                shapes.append(tuple(args[0].shape) + tuple(args[1].shape))
            return function(*args, **(kwargs or {}))

    y = LoRALinear(base, RANK, 8)(image())
    with Shapes():
        y.sum().backward()
    N = BATCH * SIDE * SIDE
    assert (RANK, N, N, OUT) in shapes and (OUT, N, N, RANK) not in shapes


@pytest.mark.slow
def test_compiles_as_one_graph_and_exports(layer):
    """Outputs and gradients."""
    torch.manual_seed(0)
    for parameter in layer.parameters():
        parameter.data.normal_(std=0.1)
    x = image()
    plain = layer.eval()(x)
    gradients = torch.autograd.grad(
        plain.square().sum(), [p for p in layer.parameters() if p.requires_grad], allow_unused=True
    )
    y = torch.compile(layer, fullgraph=True, backend='aot_eager')(x)
    torch.testing.assert_close(y, plain)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), plain)
    again = torch.autograd.grad(
        y.square().sum(), [p for p in layer.parameters() if p.requires_grad], allow_unused=True
    )
    for one, other in zip(again, gradients, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


@pytest.mark.parametrize('shape', [(7, 5), (2, 3, 4, 5), (600, 5)])
@pytest.mark.parametrize('bias', [True, False])
def test_low_rank_linear_is_the_plain_form(shape, bias):
    torch.manual_seed(0)
    like = dict(dtype=torch.float64, requires_grad=True)
    x, weight, up, z = (
        torch.randn(size, **like) for size in (shape, (6, 5), (6, 2), (*shape[:-1], 2))
    )
    b = torch.randn(6, **like) if bias else None
    inputs = [x, weight, z, up] + [b] * bias
    got, expected = (
        low_rank_linear(x, weight, b, z, up),
        x @ weight.T + z @ up.T + (b if bias else 0),
    )
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    g = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(got, inputs, g), torch.autograd.grad(expected, inputs, g), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize('rows', [3, 256, 600])
def test_gain_is_the_plain_form(rows):
    torch.manual_seed(0)
    p, d, b = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((2, rows, 5), 5, 5)
    )
    direction = torch.randn_like(p)
    plain = d * p + b
    got = Gain.apply(d.detach() * p + b, d, b.detach())
    assert got.equal(plain)
    for one, other in zip(
        torch.autograd.grad(got, (p, d, b), direction),
        torch.autograd.grad(plain, (p, d, b), direction),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-11)


def test_gain_of_zero_has_no_gradient():
    d = torch.tensor([0.0, 2.0], requires_grad=True)
    Gain.apply(torch.tensor([[1.0, 5.0]]), d, torch.tensor(1.0)).sum().backward()
    assert d.grad.tolist() == [0, 2]
