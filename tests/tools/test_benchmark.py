import json

import pytest

pytestmark = pytest.mark.slow


def test_writes_what_it_prints(call, tmp_path, capsys):
    out = tmp_path / 'work/bench.json'
    call(
        'analysis_tools/benchmark.py',
        '--methods',
        'LoRA',
        'plain:LoRA(rank=2)',
        '--arch',
        'tiny',
        '--size',
        64,
        '--batch',
        1,
        2,
        '--rounds',
        1,
        '--out',
        out,
    )
    printed, log = capsys.readouterr()
    assert '1 of 2: tiny, 64 x 64, batch 1, float32, cpu' in log and 'round 1 of 1' in log
    assert printed.strip() == out.with_suffix('.md').read_text().strip()
    stored = json.loads(out.read_text())
    assert stored['machine'].keys() == {'cpu', 'threads', 'torch', 'command'}
    assert [(row['candidate'], row['batch']) for row in stored['rows']] == [
        (candidate, batch) for batch in (1, 2) for candidate in ('LoRA', 'plain:LoRA(rank=2)')
    ]
    for row in stored['rows']:
        assert row['ratio'][1] <= row['ratio'][0] <= row['ratio'][2] and len(row['rounds']) == 1
        cells = [
            f'`{row["candidate"]}`',
            f'{row["trained"]:,}',
            f'{row["flops"] / 1e9:,.1f}',
            f'{row["kept"] / 1e6:,.0f}',
        ]
        assert f'| {" | ".join(cells)} | ' in printed
    assert stored['rows'][2]['flops'] == 2 * stored['rows'][0]['flops']


def test_counts_without_computing(call, tmp_path, capsys):
    out = tmp_path / 'c.json'
    call(
        'analysis_tools/benchmark.py',
        '--methods',
        'LoRA',
        '--arch',
        'huge',
        '--size',
        2048,
        '--rounds',
        0,
        '--out',
        out,
    )
    assert '| candidate | trained | GFLOP | kept, MB | peak, MB |\n' in capsys.readouterr().out
    (row,) = json.loads(out.read_text())['rows']
    assert (
        row['flops'] > 2 * 2 * 630e6 * 128**2
    )  # forward and the inputs' gradients: twice 2 for each weight and token
    assert 'peak' not in row and 'ratio' not in row
