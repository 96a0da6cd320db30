import json
import os

import numpy as np
import pytest
import torch

from mmsam_peft.analysis import step_cost as module
from mmsam_peft.analysis.step_cost import (
    Setting,
    benchmark,
    count,
    in_fresh_process,
    step,
    time_in_turn,
)

TINY = Setting('tiny', 64, 1, 'float32', 'cpu')


def silent(_: str) -> None:
    pass


@pytest.mark.slow
def test_counting_is_computing():
    """Operations and kept bytes without computing anything are those of a real step; kept as the
    formula has it where only the blocks' inputs are kept."""
    for candidate in ('ConvLoRA', 'TALoRA(num_tasks=2)', 'checkpointed:LoRA'):
        real, counted = (in_fresh_process(count, candidate, TINY, fake) for fake in (False, True))
        assert real == counted
    inputs, neck = 12 * 16 * 192 * 4, 16 * (192 + 10 * 256) * 4
    assert inputs < real['kept'] < inputs + neck


def test_what_depends_on_values_is_not_counted_without():
    with pytest.raises(ValueError, match=r'plain:ConvLoRA looks at values to choose what to do'):
        in_fresh_process(count, 'plain:ConvLoRA', TINY, True)
    assert in_fresh_process(count, 'plain:ConvLoRA', TINY, False)['flops'] > 0


@pytest.mark.slow
def test_operations_of_attention():
    """Of the eager form PyTorch counts the products, two forward and four backward. In chunks, of
    whole windows and of the whole map, there are two more: the logits again, and again their
    product with v."""
    setting = Setting('tiny', 1024, 1, 'float32', 'cpu')
    eager, fused = (
        in_fresh_process(count, candidate, setting, True) for candidate in ('eager:LoRA', 'LoRA')
    )
    tokens = [196] * 8 * 16 + [4096] * 4
    assert fused['flops'] - eager['flops'] == 2 * sum(2 * n * n * 192 for n in tokens)


@pytest.mark.slow
def test_conv_lora_costs_what_lora_costs():
    """By counts of ViT-B."""
    setting = Setting('base', 512, 1, 'float32', 'cpu')
    lora, conv_lora = (
        in_fresh_process(count, candidate, setting, True) for candidate in ('LoRA', 'ConvLoRA')
    )
    assert 1 < conv_lora['flops'] / lora['flops'] < 1.002
    assert 1 < conv_lora['kept'] / lora['kept'] < 1.02


@pytest.mark.slow
def test_what_more_of_everything_costs():
    """Memory of images is linear, attention within the whole map alone more than linear; experts
    are free."""

    def cost(candidate, size=224, batch=1):
        found = count(candidate, Setting('tiny', size, batch, 'float32', 'cpu'), True)
        return np.array([found['flops'], found['kept']])

    one = cost('LoRA')
    assert (cost('LoRA', batch=4) <= 4 * one).all()
    flops, kept = cost('LoRA', size=448) - 4 * one
    assert flops == pytest.approx(
        4 * 2 * 192 * (8 * 784**2 - 6 * 4 * 196**2), rel=0.02
    )  # four blocks, of eight products in chunks and of six where the matrix is kept
    assert kept < 0
    assert (cost('LoRA(rank=24)') <= 1.05 * cost('LoRA(rank=3)')).all()
    assert (cost('ConvLoRA(num_experts=16)') <= 1.001 * cost('ConvLoRA(num_experts=2)')).all()
    assert (cost('TALoRA(num_tasks=6)') <= 3 * cost('TALoRA(num_tasks=2)')).all()


def test_inference_is_a_forward_pass():
    setting = Setting('tiny', 64, 1, 'float32', 'cpu', inference=True)
    assert str(setting).endswith(', inference')
    trained, plain = (in_fresh_process(count, 'LoRA', one, True) for one in (TINY, setting))
    assert plain['kept'] == 0 and 2 * plain['flops'] < trained['flops']
    encoder = setting.encoder('LoRA')
    assert not encoder.training
    forward, *rest = step(encoder, None, setting.image(), setting)
    assert forward > 0 and rest == [0, 0]
    assert all(p.grad is None for p in encoder.parameters())


def test_candidates_take_turns(monkeypatch):
    seconds = iter(
        [(9, 9, 9), (9, 9, 9), (1, 2, 1), (2, 4, 2), (1, 1, 0), (4, 4, 0), (2, 2, 4), (2, 0, 2)]
    )
    seen, told = [], []

    def step(encoder, optimizer, image, setting):
        seen.append(type(encoder.peft).__name__)
        return next(seconds)

    monkeypatch.setattr(module, 'step', step)
    times = time_in_turn(
        ['LoRA', 'Frozen'], Setting('tiny', 64, 3, 'float32', 'cpu'), 3, told.append
    )
    assert seen == ['LoRA', 'Frozen'] * 4 and told == [
        '  warm',
        '  round 1 of 3',
        '  round 2 of 3',
        '  round 3 of 3',
    ]
    assert times['LoRA']['ratio'] == [1, 1, 1]
    frozen = times['Frozen']  # 8, 8, 4 to 4, 2, 8
    assert (
        frozen['ratio'] == [2, 0.5, 4]
        and frozen['step'] == 8
        and frozen['images_per_second'] == 3 / 8
    )
    assert (frozen['forward'], frozen['backward'], frozen['optimizer']) == (2, 4, 2)
    assert frozen['rounds'] == [(2, 4, 2), (4, 4, 0), (2, 0, 2)]


def test_a_step_trains_and_its_parts_are_timed():
    encoder = TINY.encoder('LoRA')
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    before = encoder.blocks[3].attn.qkv.lora_B.clone()
    seconds = module.step(
        encoder, optimizer, TINY.image(), Setting('tiny', 64, 1, 'bfloat16', 'cpu')
    )
    assert len(seconds) == 3 and min(seconds) > 0
    assert (
        not encoder.blocks[3].attn.qkv.lora_B.equal(before) and encoder.neck[0].weight.grad is None
    )


def test_what_runs_out_of_memory_is_no_end(tmp_path, monkeypatch):
    assert in_fresh_process(exec, "import torch; raise torch.OutOfMemoryError('of a GPU')") == dict(
        error='out of memory'
    )
    assert in_fresh_process(os._exit, 9) == dict(error='killed, most likely for its memory')
    monkeypatch.setattr(
        module,
        'in_fresh_process',
        lambda function, candidate, *_: (
            dict(trained=1, flops=2, kept=3, peak=4)
            if candidate == 'LoRA'
            else dict(error='out of memory')
        ),
    )
    text = benchmark(['Full', 'LoRA'], [TINY], 1, tmp_path / 'deep/b.json', silent)
    rows = json.loads((tmp_path / 'deep/b.json').read_text())['rows']
    assert rows[1]['ratio'] == [1, 1, 1]
    assert 'ratio' not in rows[0] and rows[0]['kept'] > 0 and '| out of memory |' in text
    assert len({line.count('|') for line in text.splitlines() if line.startswith('|')}) == 1


@pytest.mark.parametrize(
    'candidates, device, message',
    [
        (['LoRA', 'LoRA'], 'cpu', 'got LoRA LoRA, expected each candidate once'),
        (['LoRA', 'nothing:LoRA'], 'cpu', "form 'nothing' is unknown"),
        (['LoRA'], 'cuda', "device='cuda': no GPU is available to PyTorch here. Use --device cpu"),
    ],
)
def test_bad_input_before_anything_is_measured(candidates, device, message, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(module, 'in_fresh_process', lambda *_: pytest.fail('measured'))
    with pytest.raises(ValueError, match=message):
        benchmark(
            candidates, [Setting('tiny', 64, 1, 'float32', device)], 1, tmp_path / 'b.json', silent
        )
