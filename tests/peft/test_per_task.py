import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft.per_task import per_task_layers

ARCH = dict(
    embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
METHODS = {
    'TALoRA': dict(type='TALoRA', ranks=(5, 6, 2), dropout=0.0),
    'TaskLoRA': dict(type='TaskLoRA', rank=3),
    'MTLoRA': dict(type='TaskLoRA', rank=3, shared_rank=2),
}
FIRST = dict(windowed='all', globally=[1], again_windowed='last:1')
T = 3


@pytest.fixture(params=METHODS.values(), ids=METHODS)
def method(request) -> dict:
    return dict(request.param, num_tasks=T)


def build(method: dict, checkpointing: bool = False, **settings) -> SAMViT:
    """In float64, with updates as large as the frozen weights."""
    torch.manual_seed(0)
    model = SAMViT(
        ARCH, img_size=64, peft=dict(method, **settings), checkpointing=checkpointing
    ).double()
    for name, parameter in model.named_parameters():
        if name in model.peft.added:
            parameter.data.normal_(std=0.3)
    return model


def images(count: int = 2, size: tuple[int, int] = (64, 64), seed: int = 0) -> Tensor:
    return torch.randn(
        count, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def dense(layer: nn.Module, task: int) -> Tensor:
    """The task's update (out, in), entry by entry of the formulas."""
    p = {name: value.detach() for name, value in layer.named_parameters()}
    if 'lora_G' in p:
        core = sum(
            p['lora_U3'][task, v] * p['lora_G'][:, :, v] for v in range(p['lora_G'].shape[2])
        )
        return 0.5 * p['lora_U2'] @ core.T @ p['lora_U1'].T
    update = 32 / 3 * p['lora_B'][task] @ p['lora_A'][task]
    return (
        update + 32 / 2 * p['lora_shared_B'] @ p['lora_shared_A']
        if 'lora_shared_A' in p
        else update
    )


def model_of(model: SAMViT, task: int) -> SAMViT:
    """A plain encoder with the task's updates in its weights."""
    plain = SAMViT(ARCH, img_size=64).double()
    plain.load_state_dict({key: model.state_dict()[key] for key in plain.state_dict()})
    for name, layer in model.named_modules():
        if layer in per_task_layers(model):
            plain.get_parameter(f'{name}.weight').data += dense(layer, task)
    return plain


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize('blocks', FIRST.values(), ids=FIRST)
@pytest.mark.parametrize('batch, size', [(1, (64, 64)), (2, (48, 80)), (4, (30, 100))])
def test_one_pass_equals_a_model_per_task(method, blocks, batch, size):
    model, x = build(method, blocks=blocks).eval(), images(batch, size)
    expected = [model_of(model, task)(x)[0] for task in range(T)]
    assert (expected[0] - expected[1]).abs().max() > 1e-2 < (expected[1] - expected[2]).abs().max()
    close(model(x)[0], torch.cat(expected))
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(1))
    close(model(x[order])[0], torch.cat([maps[order] for maps in expected]))


@torch.no_grad()
@pytest.mark.parametrize('targets', ['q', ('k', 'v'), 'proj', ('proj', 'mlp'), 'lin2'])
@pytest.mark.parametrize('blocks', ['all', [1]])
def test_any_linear_may_be_the_first(targets, blocks):
    method = dict(METHODS['TaskLoRA'], num_tasks=T, targets=targets)
    model, x = build(method, blocks=blocks).eval(), images()
    weights = {name: parameter.clone() for name, parameter in model.named_parameters()}
    for task, maps in enumerate(model(x)[0].chunk(T)):
        model.peft.merge(model, task)
        close(model(x)[0], maps)
        model.peft.unmerge(model)
    assert all(parameter.equal(weights[name]) for name, parameter in model.named_parameters())


@torch.no_grad()
@pytest.mark.parametrize('tasks', [[0], [2], [2, 0], [1, 2, 0]])
def test_selection_gives_these_tasks_in_this_order(method, tasks):
    model, x = build(method).eval(), images(3)
    every = model(x)[0].chunk(T)
    model.peft.select(model, tasks)
    assert model.peft.active(model) == tuple(tasks)
    close(model(x)[0], torch.cat([every[task] for task in tasks]))
    model.peft.select(model, None)
    assert model.peft.active(model) == (0, 1, 2)
    close(model(x)[0], torch.cat(every))


@pytest.mark.parametrize('checkpointing', [False, True])
def test_gradients_are_those_of_the_tasks_one_after_the_other(method, checkpointing):
    """Of both a loop over tasks with a backward pass each, and one backward pass after all of
    them."""
    model, x = build(method, checkpointing).train(), images()
    weights = torch.randn(T, dtype=torch.float64)

    def gradients() -> dict[str, Tensor]:
        found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
        model.zero_grad()
        return found

    def loss(tasks: list[int]) -> Tensor:
        model.peft.select(model, tasks)
        maps = model(x)[0].chunk(len(tasks))
        model.peft.select(model, None)  # as who asks may do before the backward pass
        return sum(weights[task] * one.pow(3).mean() for task, one in zip(tasks, maps, strict=True))

    loss([0, 1, 2]).backward()
    expected = gradients()
    assert all(gradient.abs().max() > 0 for gradient in expected.values())
    for task in (1, 2, 0):
        loss([task]).backward()
    later = gradients()
    (loss([2, 1]) + loss([0])).backward()
    at_once = gradients()
    for name, gradient in expected.items():
        close(later[name], gradient)
        close(at_once[name], gradient)


def test_every_parameter_has_a_gradient_whatever_is_selected(method):
    model = build(method).train()
    model.peft.select(model, [1])
    model(images())[0].square().mean().backward()
    assert all(
        (parameter.grad is not None) == parameter.requires_grad for parameter in model.parameters()
    )


@torch.no_grad()
@pytest.mark.parametrize('blocks, first', [('all', 0), ([1], 1), ([1, 2], 1)])
def test_what_is_common_is_computed_once(method, blocks, first):
    model, samples = build(method, blocks=blocks).eval(), {}
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _, inputs, output, name=name: samples.update({name: (inputs[0], output)})
        )
    model(images(2))
    assert len(samples['patch_embed'][1]) == 2
    for number in range(3):
        assert len(samples[f'blocks.{number}'][0]) == (2 if number <= first else 6)
        assert len(samples[f'blocks.{number}'][1]) == (2 if number < first else 6)
        assert len(samples[f'blocks.{number}.norm1'][1]) == (2 if number <= first else 6)
        assert len(samples[f'blocks.{number}.norm2'][1]) == (2 if number < first else 6)
    assert [layer.branches for layer in per_task_layers(model)] == [True] + [False] * (
        len(per_task_layers(model)) - 1
    )


@torch.no_grad()
def test_frozen_projection_is_computed_once_and_no_update_is_dense(method):
    layers = per_task_layers(build(method))[:2]
    shapes = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, kind, types, args=(), kwargs=None):
            out = kind(*args, **(kwargs or {}))
            shapes.append((kind.name(), out.shape if isinstance(out, Tensor) else None))
            return out

    for layer, samples, frozen in zip(layers, (2, 6), (14, 42), strict=True):
        shapes.clear()
        with Record():
            assert layer(images(samples)[:, 0, :7, :32].contiguous()).shape == (6, 7, 96)
        assert [shape for name, shape in shapes if name == 'aten::addmm'] == [(frozen, 96)]
        assert not any(
            shape is not None and shape[-2:] in ((96, 32), (32, 96)) and 'mm' in name
            for name, shape in shapes
        )


@torch.no_grad()
@pytest.mark.parametrize('train', [False, True])
def test_merging_switches_exactly(method, train):
    model, x = build(method).train(train), images()
    state, expected = copy.deepcopy(model.state_dict()), model.eval()(x)[0].chunk(T)
    model.train(train)
    merged = {}
    for task in (0, 2, 2, 1, 0):
        model.peft.merge(model, task)
        assert model.peft.active(model) == (task,)
        close(model(x)[0], expected[task])
        close(model_of_merged(model)(x)[0], expected[task])
        for key, value in model.state_dict().items():
            assert merged.setdefault((task, key), value.clone()).equal(value)
    model.peft.unmerge(model)
    assert all(value.equal(state[key]) for key, value in model.state_dict().items())
    assert model.peft.active(model) == (0, 1, 2)
    close(model(x)[0], torch.cat(expected))


def model_of_merged(model: SAMViT) -> SAMViT:
    plain = SAMViT(ARCH, img_size=64).double()
    plain.load_state_dict({key: model.state_dict()[key] for key in plain.state_dict()})
    return plain


@pytest.mark.parametrize('task', [None, 3, -1])
def test_merging_no_task(method, task):
    model = build(method)
    with pytest.raises(
        ValueError,
        match=rf'task={task}: there are 3 tasks and one can be merged .* use one of 0 to 2',
    ):
        model.peft.merge(model, task)
    assert model.peft.active(model) == (0, 1, 2)


def test_one_task_merges_without_its_number(method):
    model = build(dict(method, num_tasks=1))
    model.peft.merge(model)
    assert model.peft.active(model) == (0,) and all(
        layer.merged for layer in per_task_layers(model)
    )


@pytest.mark.parametrize('tasks', [[], [3], [-1], [0, 0]])
def test_selecting_what_is_not_there(method, tasks):
    model = build(method)
    with pytest.raises(
        ValueError, match=r'tasks=.*: use some of 0 to 2, each once, or None for all'
    ):
        model.peft.select(model, tasks)
    assert model.peft.active(model) == (0, 1, 2)


def test_selecting_in_a_merged_encoder(method):
    model = build(method)
    model.peft.merge(model, 1)
    for tasks in ([0], [0, 1, 2]):
        with pytest.raises(ValueError, match=r'tasks=.*: the encoder is merged for task 1 alone'):
            model.peft.select(model, tasks)
    model.peft.select(model, [1])
    model.peft.select(model, None)
    model.peft.unmerge(model)
    assert model.peft.active(model) == (0, 1, 2)


@torch.no_grad()
def test_several_levels(method):
    torch.manual_seed(0)
    model = SAMViT(ARCH, img_size=64, peft=dict(method, blocks=[1, 2]), out_indices=(1, 2)).double()
    assert [len(maps) for maps in model(images())] == [6, 6]
    with pytest.raises(
        ValueError,
        match=r'out_indices=\(0, 2\): the map after block 0 is common .* begin in block 1',
    ):
        SAMViT(ARCH, img_size=64, peft=dict(method, blocks=[1, 2]), out_indices=(0, 2))


def test_no_task(method):
    with pytest.raises(ValueError, match='num_tasks=0: at least 1'):
        build(dict(method, num_tasks=0))
