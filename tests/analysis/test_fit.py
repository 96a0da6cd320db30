"""Counted memory against what the allocator gave out in real steps; proposals and commands."""

import sys

import pytest

from mmsam_peft.analysis.fit import (
    CPU_OVERHEAD,
    GPU_OVERHEAD,
    METHOD,
    SLACK,
    Fit,
    Way,
    command,
    fits,
    read_bytes,
    table,
    ways,
)
from mmsam_peft.analysis.measured_memory import allocated_peak
from mmsam_peft.analysis.training_step import count_step

SMALL = {
    'image_size': 256,
    'model.backbone.arch': dict(
        embed_dim=64, depth=4, num_heads=2, global_attn_indexes=(3,), window_size=7, out_channels=32
    ),
}
CHECKPOINTING = {'model.backbone.checkpointing': True}
CASES = {
    'LoRA': {},
    'checkpointing': CHECKPOINTING,
    'Conv-LoRA': {'model.backbone.peft': dict(type='ConvLoRA', _delete_=True)},
    'nf4': {'model.backbone.base_dtype': 'nf4', **CHECKPOINTING},
    'bfloat16': {
        'optim_wrapper.type': 'AutocastOptimWrapper',
        'model.backbone.base_dtype': 'bfloat16',
    },
    'full': {'model.backbone.peft': dict(type='Full', _delete_=True)},
}


def small(tiny, changes=None):
    return tiny({**SMALL, **(changes or {})})


FAST = ('nf4',)


@pytest.mark.parametrize(
    'case', [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_the_counted_peak_is_that_of_real_steps(tiny, case):
    cfg = small(tiny, CASES[case])
    found, measured = count_step(cfg, 2), allocated_peak(cfg, 2)
    assert found.peak == pytest.approx(measured, rel=0.15)
    assert found.weights + found.optimizer < found.peak and found.gradients > 0


def test_a_feature_cache_saves_the_frozen_blocks(tiny):
    cfg = small(tiny, {'model.backbone.peft.blocks': 'last:1'})
    whole, cached = count_step(cfg, 2), count_step(cfg, 2, cached=True)
    assert not whole.stand_in
    assert cached.flops < 0.7 * whole.flops and cached.peak <= whole.peak
    with pytest.raises(ValueError, match='no frozen beginning'):
        count_step(small(tiny), 1, cached=True)


def test_ways_are_those_that_the_config_takes(tiny):
    names = [way.name for way in ways(small(tiny))]
    assert names[:2] == ['as it is', 'checkpointing'] and 'nf4 base, checkpointing' in names
    assert 'last 2 blocks, feature cache' in names
    none = [way.name for way in ways(small(tiny, {'model.backbone.peft': None}))]
    assert none == ['as it is', 'checkpointing']
    full = [way.name for way in ways(small(tiny, CASES['full']))]
    assert not any('cache' in name and 'last' not in name for name in full)


@pytest.mark.slow
def test_what_fits(tiny):
    """A little more than one image of the config as it is needs: all with less fit more images."""
    cfg = small(tiny)
    one = count_step(cfg, 1)
    told = []
    memory = one.peak * SLACK * 1.01 + CPU_OVERHEAD
    found = fits(cfg, memory, gpu=False, report=told.append)
    by_name = {fit.way.name: fit for fit in found}
    assert by_name['as it is'].batch == 1 and by_name['as it is'].time == 1
    again = by_name['checkpointing']
    assert again.peak < by_name['as it is'].peak and 1 < again.time < 1.5
    assert by_name['nf4 base'].peak < by_name['bfloat16 base'].peak < by_name['as it is'].peak
    assert all(fit.peak <= memory for fit in found if fit.batch)
    times = [fit.time for fit in found if fit.batch]
    assert times == sorted(times) and len(told) >= len(found)


def test_where_nothing_fits(tiny, monkeypatch):
    monkeypatch.setattr('mmsam_peft.analysis.fit.ways', lambda cfg: [Way('as it is')])
    nothing = fits(small(tiny), GPU_OVERHEAD + 1e6)
    assert [fit.batch for fit in nothing] == [0] and 'none fits' in table(nothing)
    assert command(nothing, 'config.py', 2).startswith('Nothing fits.')


def test_the_command_keeps_method_batch_and_options():
    late = Fit(Way('late', {'a': 'last:1'}, METHOD), 4, 1e9, 0.5, False)
    exact = Fit(Way('kept', {'model.backbone.checkpointing': True}), 2, 2e9, 1.3, False)
    text = command([late, exact], 'c.py', 4, {'encoder': 'sam_vit_h', 'batch_size': 4}, 'bf16')
    assert text == (
        'python tools/train.py c.py --amp bf16 --cfg-options encoder=sam_vit_h '
        'model.backbone.checkpointing=True train_dataloader.batch_size=2 '
        'optim_wrapper.accumulative_counts=2'
    )
    assert 'accumulative_counts=6' in command([exact], 'c.py', 4, accumulated=3)
    assert 'a=last:1' in command([late], 'c.py', 4)
    beginning = 'MALLOC_MMAP_THRESHOLD_=4194304 ' * (sys.platform == 'linux')
    assert command([late], 'c.py', 4, gpu=False).startswith(f'{beginning}python tools/train.py')
    assert '| late | 4 | 1.00 | 0.50 |' in table([late])


def test_sizes():
    assert read_bytes('8G') == read_bytes(' 8gb ') == 8e9 and read_bytes('7.5GiB') == 7.5 * 2**30
    for wrong in ('8', 'G', '-1G', '0G', '8 cards'):
        with pytest.raises(ValueError, match='expected a size such as 8G'):
            read_bytes(wrong)


def test_a_loss_that_matches_is_counted_by_a_stand_in(tiny):
    several = {'model.decode_head.num_classes': 5, 'model.decode_head.num_queries': 8}
    found = count_step(small(tiny, several), 1)
    assert found.stand_in and found.gradients > 0
