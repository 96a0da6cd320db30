"""Tables of a suite against numbers made by hand."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mmsam_peft.analysis.suite.collect import collect, scores_table, sweep_table
from mmsam_peft.analysis.suite.results import choose, read_results


def write(folder: Path, data: str, method: str, lr: float, seed: int, **facts) -> None:
    """``images``: the Dice of each test image, of which the score is the mean."""
    place = folder / data / method / f'lr={lr:g}' / f'seed{seed}'
    place.mkdir(parents=True)
    images = facts.pop('images', [facts.pop('test', 0.0)])
    metric = facts.setdefault('metric', 'Dice')
    result = dict(
        data=data,
        method=method,
        arch=None,
        lr=lr,
        seed=seed,
        rule=facts.pop('rule', 'greater'),
        scores={metric: sum(images) / len(images), 'IoU': 50.0},
        val_scores={metric: facts.pop('val')} if 'val' in facts else {},
        trained_parameters=dict(total=4_000_000),
        **facts,
    )
    (place / 'result.json').write_text(json.dumps(result))
    scores = {f'{i}.png': {metric: value} for i, value in enumerate(images)}
    (place / 'images.json').write_text(json.dumps(scores))


@pytest.fixture
def sweep(tmp_path) -> Path:
    """LoRA is better on test at 0.01, and on validation at 0.001."""
    for lr, val, test in ((1e-3, (70, 74), (80, 83)), (1e-2, (71, 69), (90, 90))):
        for seed in (0, 1):
            write(tmp_path, 'kvasir', 'LoRA', lr, seed, val=val[seed], test=test[seed])
    return tmp_path


def test_the_rate_is_chosen_by_validation(sweep):
    (one,) = choose(read_results(sweep))
    assert one.best.lr == 1e-3 and one.note == 'at the edge of the sweep'
    table = sweep_table('kvasir', [one])
    assert table.rows == [['LoRA', '72.00 / 81.50 *', '70.00 / 90.00', 'at the edge of the sweep']]
    assert table.head[1:3] == ['0.001', '0.01']


def test_methods_without_a_sweep_are_marked(sweep):
    write(sweep, 'kvasir', 'benchmarks/{data}_net.py', 1e-2, 0, val=1.0, test=50.0)
    table = sweep_table('kvasir', choose(read_results(sweep)))
    assert table.rows[1] == ['net', '-', '1.00 / 50.00 *', 'one rate only']


def test_lower_may_be_better(tmp_path):
    for lr, val in ((1e-4, 3.0), (1e-3, 2.0), (1e-2, 4.0)):
        write(tmp_path, 'sbu', 'LoRA', lr, 0, val=val, test=5.0, metric='BER', rule='less')
    (one,) = choose(read_results(tmp_path))
    assert one.best.lr == 1e-3 and one.note == ''


def test_rates_with_fewer_seeds_are_not_chosen(sweep):
    write(sweep, 'kvasir', 'LoRA', 3e-3, 0, val=99.0, test=99.0)
    (one,) = choose(read_results(sweep))
    assert one.best.lr == 1e-3 and '1 rates have fewer seeds' in one.note
    assert '99.00 / 99.00 (1 seeds)' in sweep_table('kvasir', [one]).rows[0]


def test_a_sweep_needs_validation(tmp_path):
    for lr in (1e-3, 1e-2):
        write(tmp_path, 'kvasir', 'LoRA', lr, 0, test=80.0)
    with pytest.raises(ValueError, match='kvasir LoRA was trained at several .* no Dice of a val'):
        choose(read_results(tmp_path))


def test_scores_beside_published_ones(sweep):
    write(sweep, 'leaf', 'LoRA', 1e-3, 0, test=60.0)
    write(sweep, 'leaf', 'ownmethod', 1e-3, 0, test=61.0)
    table = scores_table(choose(read_results(sweep)))
    assert table.head == [
        'method', 'seeds', 'trained parameters', 'kvasir Dice', 'leaf Dice', 'leaf IoU'
    ]  # fmt: skip
    assert table.rows == [
        ['LoRA', '1-2', '4,000,000', '81.50 ± 2.12', '60.00', '50.00'],
        ['† LoRA, published', '', '', '-', '83.60 ± 0.13', '73.70 ± 0.20'],
        ['ownmethod', '1', '4,000,000', '-', '61.00', '50.00'],
    ]
    assert 'published, not measured here' in table.note
    assert 'published' not in scores_table(choose(read_results(sweep))[:1]).note


def test_files(sweep):
    """Order and differences: B is 10 above LoRA on every image, C on half of them above, on half
    below."""
    for seed, base in ((0, 80.0), (1, 83.0)):
        write(sweep, 'kvasir', 'B', 1e-3, seed, images=[base + 10])
        write(sweep, 'kvasir', 'C', 1e-3, seed, images=[base - 1])
    page = collect(sweep, reference='LoRA')
    assert (sweep / 'report.md').read_text() == page
    names = ('scores', 'sweep_kvasir', 'order_kvasir', 'pairs_kvasir')
    for name in names:
        assert (sweep / f'{name}.csv').exists() and (sweep / f'{name}.tex').exists()
    assert (sweep / 'pairs_kvasir.csv').read_text().splitlines()[1:] == [
        'B - LoRA,+10.00,+10.00 to +10.00,0.0002,0.0006',
        'C - LoRA,-1.00,-1.00 to -1.00,0.0002,0.0006',
    ]
    assert (sweep / 'order_kvasir.csv').read_text().splitlines()[1:] == [
        '1 B,91.50,10.00*,11.00*',
        '2 LoRA,81.50,,1.00*',
        '3 C,80.50,,',
    ]
    assert '2 seeds and 1 images' in page
    assert min(Image.open(sweep / 'sweep.png').size) > 300


@pytest.mark.parametrize(
    ('content', 'message'),
    [('{', 'is no result of a run'), ('{"method": "LoRA"}', 'is no result of a run')],
)
def test_damaged_results(tmp_path, content, message):
    with pytest.raises(FileNotFoundError, match='no run is finished'):
        read_results(tmp_path)
    (tmp_path / 'result.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path)


def test_the_same_run_twice(sweep):
    (sweep / 'copy').mkdir()
    original = next(sweep.rglob('result.json'))
    (sweep / 'copy/result.json').write_text(original.read_text())
    with pytest.raises(ValueError, match='are the same run'):
        read_results(sweep)
