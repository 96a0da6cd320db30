import pytest
import torch
from torch import Tensor, nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import count_parameters
from mmsam_peft.peft.qkv import QKVParts
from mmsam_peft.peft.task_lora import TaskLoRALinear

from .conftest import ARCH

T = 3


def build(**settings) -> SAMViT:
    torch.manual_seed(0)
    model = SAMViT(ARCH, img_size=64, peft=dict(rank=4, alpha=6, **settings)).double()
    for name, parameter in model.named_parameters():
        if 'lora' in name:
            parameter.data.normal_(std=0.3)
    return model


def images() -> Tensor:
    return torch.randn(
        2, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize('targets', ['qkv', ('q', 'v'), ('qkv', 'proj', 'mlp')])
def test_the_same_as_an_encoder_with_a_lora_for_each_task(targets):
    """In its maps and its gradients, each task's loss being its own."""
    model, x = build(type='TaskLoRA', num_tasks=T, targets=targets), images()
    maps = model(x)[0].chunk(T)
    sum((task + 1) * one.pow(3).mean() for task, one in enumerate(maps)).backward()
    for task in range(T):
        single = build(type='LoRA', targets=targets)
        single.load_state_dict(
            {
                key: value[task] if 'lora' in key else value
                for key, value in model.state_dict().items()
            }
        )
        expected = single(x)[0]
        close(maps[task], expected)
        ((task + 1) * expected.pow(3).mean()).backward()
        for name, parameter in single.named_parameters():
            if parameter.requires_grad:
                close(model.get_parameter(name).grad[task], parameter.grad)


@pytest.mark.parametrize('branches', [True, False])
@pytest.mark.parametrize('shared_rank', [0, 2])
def test_formula(shared_rank, branches):
    torch.manual_seed(0)
    layer = TaskLoRALinear(nn.Linear(6, 12), T, 3, 7, shared_rank, QKVParts((0, 2))).double()
    layer.branches = branches
    for parameter in layer.parameters():
        parameter.data.normal_()
    p = {name: parameter.detach() for name, parameter in layer.named_parameters()}
    x = torch.randn(1 if branches else T, 2, 5, 6, dtype=torch.float64)
    for task, y in enumerate(layer(x.flatten(0, 1)).unflatten(0, (T, 2))):
        update = 7 / 3 * p['lora_B'][task] @ p['lora_A'][task]
        if shared_rank:
            update += 7 / 2 * p['lora_shared_B'] @ p['lora_shared_A']
        weight = p['weight'].clone()
        weight[:4] += update[:4]
        weight[8:] += update[4:]
        close(y, x[0 if branches else task] @ weight.T + p['bias'])
        layer.merge(task)
        close(layer.weight.data, weight)
        layer.unmerge()


def test_the_shared_lora_alone_is_lora():
    model, single, x = (
        build(type='TaskLoRA', num_tasks=2, shared_rank=4),
        build(type='LoRA'),
        images(),
    )
    for block, other in zip(model.blocks, single.blocks, strict=True):
        layer = block.attn.qkv
        nn.init.zeros_(layer.lora_B)
        other.attn.qkv.lora_A.data, other.attn.qkv.lora_B.data = (
            layer.lora_shared_A.data,
            layer.lora_shared_B.data,
        )
    close(model(x)[0], single(x)[0].repeat(2, 1, 1, 1))


def test_initial_values():
    torch.manual_seed(0)
    layer = TaskLoRALinear(nn.Linear(400, 4), T, 50, 1, 60)
    assert layer.lora_B.abs().max() == layer.lora_shared_B.abs().max() == 0
    bound = 1 / 400**0.5  # Kaiming-uniform with a = sqrt 5
    for A in (*layer.lora_A, layer.lora_shared_A):
        assert 0.99 * bound < A.abs().max() <= bound
    assert not layer.lora_A[0].equal(layer.lora_A[1])


@pytest.mark.parametrize(
    'arch, size', [('base', 1_179_648), ('large', 3_145_728), ('huge', 5_242_880)]
)
def test_size(arch, size):
    """Three times that of the one LoRA of LoRA-HPS; a shared one adds a fourth."""

    def count(**settings) -> int:
        with torch.device('meta'):
            return count_parameters(SAMViT(arch, peft=settings))[0]

    assert count(type='LoRA', rank=32) == size
    assert count(type='TaskLoRA', num_tasks=3) == 3 * size
    assert count(type='TaskLoRA', num_tasks=3, shared_rank=32) == 4 * size


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(rank=0), 'rank=0, shared_rank=0: rank is at least 1'),
        (dict(shared_rank=-1), 'shared_rank at least 0'),
        (dict(num_tasks=0), 'num_tasks=0: at least 1'),
        (dict(targets='kqv'), "target 'kqv' matches no linear layer"),
    ],
)
def test_bad_input(settings, message):
    with pytest.raises(ValueError, match=message):
        SAMViT(ARCH, img_size=64, peft=dict(type='TaskLoRA', **settings))
