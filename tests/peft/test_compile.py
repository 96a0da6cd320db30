"""Blocks under torch.compile: one graph each, whatever the method, and nothing else about the
encoder changes."""

import copy
import pickle

import pytest
import torch

from mmsam_peft.layers.block import Block
from mmsam_peft.registry import PEFT

from .conftest import HOSTS

pytestmark = pytest.mark.slow

HOST = HOSTS['encoder']
LIBRARY = "the peft library's layers look at values to choose what to do"
BROKEN = {
    ('HFPeft', False): LIBRARY,
    ('HFPeft', True): LIBRARY,
    (
        'ConvLoRA',
        True,
    ): 'its layers leave balance losses behind, which no graph of a checkpointed block may',
}
"""By method and checkpointing: why blocks are more than one graph. Without ``fullgraph`` they are
compiled in pieces."""
CASES = [(name, False) for name in sorted(PEFT.module_dict)] + [
    (name, True) for name in ('LoRA', 'TALoRA', 'VPT')
]


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()


def build(name: str, num_experts: int | None = None, **settings) -> torch.nn.Module:
    experts = {} if num_experts is None else dict(num_experts=num_experts)
    model = HOST.build(dict(type=name, **experts), **settings)
    torch.manual_seed(1)
    for key, parameter in model.named_parameters():
        if key in model.peft.added:
            parameter.data += torch.randn_like(parameter) * 0.01
    return model


def train_step(model) -> list[torch.Tensor]:
    """The map and the gradients."""
    model.zero_grad()
    torch.manual_seed(0)
    y = HOST.run(model.train(), HOST.inputs())
    loss = y.square().mean() + sum(model.peft.aux_losses(model).values())
    if loss.requires_grad:
        loss.backward()
    return [y, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


@torch.no_grad()
def validate(model) -> list[torch.Tensor]:
    return [HOST.run(model.eval(), HOST.inputs(1, batch=1))]


def assert_close(got: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('name, checkpointing', [case for case in CASES if case not in BROKEN])
def test_blocks_are_one_graph_and_equal(name, checkpointing):
    options = dict(backend='aot_eager', fullgraph=True)
    plain, compiled = (
        build(name, checkpointing=checkpointing, compile=compile) for compile in (False, options)
    )
    assert_close(train_step(compiled), train_step(plain))


@pytest.mark.parametrize('name, checkpointing', BROKEN)
def test_exceptions_are_still_needed(name, checkpointing):
    model = build(
        name, checkpointing=checkpointing, compile=dict(backend='aot_eager', fullgraph=True)
    )
    with pytest.raises(torch._dynamo.exc.Unsupported):
        train_step(model)


def test_blocks_in_pieces_are_equal():
    plain, compiled = (
        build('ConvLoRA', checkpointing=True, compile=compile)
        for compile in (False, dict(backend='aot_eager'))
    )
    assert_close(train_step(compiled), train_step(plain))


def test_blocks_share_few_graphs():
    """Of windowed and of global blocks one each in training, in validation (no gradients, another
    batch size) and when merged; and that of the first block, whose input needs no gradient: 7,
    whatever the depth. torch.compile allows 8."""
    graphs = []
    compile = dict(backend=lambda graph, _: graphs.append(graph) or graph)
    plain, compiled = (build('LoRA', compile=options) for options in (False, compile))
    for model, options in ((plain, False), (compiled, compile)):
        model.blocks.extend(
            block for _ in range(4) for block in build('LoRA', compile=options).blocks
        )
    for action in (train_step, validate, train_step, validate):
        assert_close(action(compiled), action(plain))
    assert len(graphs) == 5
    compiled.peft.merge(compiled)
    torch.testing.assert_close(validate(compiled), validate(plain), rtol=1e-4, atol=1e-5)
    assert len(graphs) == 7
    compiled.peft.unmerge(compiled)
    assert_close(validate(compiled), validate(plain))


def test_names_and_copies_are_as_without():
    plain, compiled = (build('LST', compile=compile) for compile in (False, dict(backend='eager')))
    blocks = [block for block in compiled.modules() if isinstance(block, Block)]
    assert len(blocks) == 4 and all(
        block._compiled_call_impl for block in blocks
    )  # those of the side network too
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    compiled.load_state_dict(plain.state_dict())
    for twin in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        assert validate(twin)[0].equal(validate(plain)[0])


def test_compiled_code_is_equal():
    """By the default backend, which needs a C++ compiler on a CPU; noise is drawn by PyTorch's own
    generator."""
    plain, compiled = (
        build('ConvLoRA', num_experts=2, compile=compile)
        for compile in (False, dict(options=dict(fallback_random=True)))
    )
    for action in (train_step, validate, train_step):
        torch.testing.assert_close(action(compiled), action(plain), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(('way', 'autocast'), [('bfloat16', True), ('nf4', False)])
def test_a_base_in_fewer_bits(way, autocast, relative):
    models = [build('LoRA', base_dtype=way, compile=c) for c in (False, dict(fullgraph=True))]
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        plain, compiled = map(train_step, models)
    assert relative(compiled[0].float(), plain[0].float()) < (0.02 if autocast else 1e-4)
    assert len(compiled) == len(plain) and all(g.isfinite().all() for g in compiled)
