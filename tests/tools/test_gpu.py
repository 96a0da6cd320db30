import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'benchmarks'))
import gpu
import gpu_parts
from gpu_tables import goals, tables

RUN = gpu_parts.Run('cpu', tiny=True, rounds=1)


def silent(_: str) -> None:
    pass


def test_what_is_measured_is_kept_and_what_failed_is_done_again(monkeypatch, tmp_path):
    calls = []

    def broken(run):
        calls.append('broken')
        if len(calls) < 3:
            raise ZeroDivisionError('by chance')
        return dict(note='mended')

    def good(run):
        calls.append('good')
        return {'LoRA': dict(images_per_second=2.0, peak=3e9, ratio=[1, 1, 1])}

    monkeypatch.setattr(gpu, 'PARTS', dict(broken=broken, good=good))
    out = tmp_path / 'deep/gpu.json'
    first = gpu.measure(RUN, ['broken', 'good'], out, silent)
    assert first['parts']['broken'] == dict(error='ZeroDivisionError: by chance')
    assert json.loads(out.read_text()) == first
    second = gpu.measure(RUN, ['broken', 'good'], out, silent)
    assert (
        calls == ['broken', 'good', 'broken'] and second['parts']['good'] == first['parts']['good']
    )
    shown = tables(second)
    assert 'mended' in shown and '| `LoRA` | 2.00 | 3.00 | 1.00 (1.00 to 1.00) |' in shown
    assert '| no wait for the GPU in a step | not measured |  |' in shown
    with pytest.raises(ValueError, match='was measured on .* choose another --out'):
        gpu.measure(gpu_parts.Run('cpu', False, 1), ['good'], out, silent)


def test_goals_are_judged_by_what_was_found():
    parts = dict(
        synchronisation=dict(LoRA='no wait', VPT=dict(error='waited')),
        conv_lora=dict(ConvLoRA=dict(ratio=[1.04, 1, 1.1])),
        four_gigabytes={'LoRA, bfloat16': dict(peak=3e9), 'ConvLoRA, bfloat16': dict(error='')},
        training_base={
            'LoRA': dict(peak=1e9),
            'sam:LoRA': dict(peak=3.1e9, ratio=[2.9, 2, 4]),
            'hf:LoRA': dict(error='out of memory'),
        },
        training_large=dict(error='by chance'),
    )
    judged = {what: (found, met) for what, found, met in goals(parts)}
    assert judged['no wait for the GPU in a step'] == ('1 of 2 methods', 'not met')
    assert judged['time of Conv-LoRA, of LoRA: 1.05'] == ('1.04 (1.00 to 1.10)', 'met')
    assert judged['ViT-H with LoRA on a card of 4 GB'] == ('3.00 GB', 'met')
    assert judged['ViT-H with ConvLoRA on a card of 4 GB'] == ('not measured', '')
    assert judged['base: time of `sam:LoRA`, of ours: 3'] == ('2.90 (2.00 to 4.00)', 'not met')
    assert judged["base: our memory, of `sam:LoRA`'s: 0.33"] == ('0.32', 'met')
    assert judged['base: time of `hf:LoRA`, of ours: 3'] == ('not measured', '')


def test_forms_and_methods_are_right_in_half_precision():
    found = gpu_parts.correctness(RUN)
    for name, error in found['forms'].items():
        assert error < (0.02 if 'bfloat16' in name else 0.003), name
    for name, error in found['methods'].items():
        assert error < (0.02 if 'bfloat16' in name else 0.003), name


def test_attention_is_timed_and_what_cannot_run_is_named(monkeypatch):
    def broken(*_):
        raise RuntimeError('no kernel')

    monkeypatch.setattr(gpu_parts.attention, 'concat_attention', broken)
    found = gpu_parts.attention_forms(RUN)
    assert found['map, concat'] == dict(error='RuntimeError: no kernel')
    assert all(0 < x for x in found['windows, bias']['both'])
    assert 'no kernel' in tables(
        dict(machine=dict(cpu='one', torch='2'), parts=dict(attention_forms=found))
    )


def test_a_training_under_autocast():
    found = gpu_parts.training_with_amp(RUN)
    assert found['iterations'] == 2 and found['first'] > 0


@pytest.mark.slow
def test_every_part_runs(tmp_path):
    found = gpu.measure(RUN, list(gpu_parts.PARTS), tmp_path / 'gpu.json', silent)
    assert not [name for name, part in found['parts'].items() if 'error' in part]
    shown = tables(found)
    assert all(f'### {name.replace("_", " ")}' in shown for name in gpu_parts.PARTS)
