import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmsam_peft.analysis.suite.report import name_points, plot, table


def results(seeds: int, methods: int) -> dict[str, list[dict]]:
    rng = np.random.default_rng(0)

    def result(i: int) -> dict:
        scores = dict(IoU=rng.uniform(60, 61), Dice=rng.uniform(60, 61), MAE=rng.uniform(0, 0.1))
        return dict(
            scores=scores,
            metric='Dice',
            trained_parameters=dict(total=4_000_000 + 1000 * i),
            adapter_bytes=1234567,
            iterations_per_second=rng.uniform(1, 2),
            peak_memory_bytes=int(rng.integers(1e9)),
            memory_kind='resident',
            shared=False,
        )

    return {f'Method{i}': [result(i) for _ in range(seeds)] for i in range(methods)}


def cells(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in text.splitlines()
        if line.startswith('|')
    ]


def test_table_holds_means_and_deviations():
    made = results(3, 2)
    head, _, *rows = cells(table(made))
    assert head == [
        'method',
        'n',
        'IoU',
        'Dice',
        'MAE',
        'trained parameters',
        'file, MB',
        'iterations/s',
        'peak memory, MB',
    ]
    for (method, runs), row in zip(made.items(), rows, strict=True):
        for name, digits in (('IoU', 2), ('Dice', 2), ('MAE', 4)):
            values = [run['scores'][name] for run in runs]
            assert (
                row[head.index(name)]
                == f'{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}'
            )
        assert row[:2] == [f'`{method}`', '3'] and row[5:7] == [
            f'{runs[0]["trained_parameters"]["total"]:,}',
            '1.23',
        ]
        assert row[7] == f'{np.mean([run["iterations_per_second"] for run in runs]):.2f}'
        assert row[8] == f'{np.mean([run["peak_memory_bytes"] for run in runs]) / 1e6:.0f}'


def test_table_says_what_it_does_not_know():
    made = results(1, 2)
    made['Method0'][0].update(iterations_per_second=None, shared=True)
    del made['Method1'][0]['scores']['IoU']
    text = table({**made, 'Failed': []})
    _, _, first, second, failed = cells(text)
    assert '±' not in '\n'.join(text.splitlines()[:5])
    assert first[7] == '-' and second[2] == '-' and failed == ['`Failed`', '0', *['-'] * 7]
    assert 'shared machine' in text and 'shared machine' not in table(results(1, 2))
    assert table({'Failed': []}).count('-') > 3


@pytest.mark.parametrize('seeds, methods', [(1, 1), (3, 14)])
def test_plot_is_a_picture_with_content(tmp_path, seeds, methods):
    plot({**results(seeds, methods), 'Failed': []}, tmp_path / 'plot.png', 'title')
    picture = Image.open(tmp_path / 'plot.png')
    assert picture.format == 'PNG' and min(picture.size) > 500
    colours = np.unique(np.asarray(picture.convert('RGB')).reshape(-1, 3), axis=0)
    assert len(colours) > 50 * methods**0.5


@pytest.mark.parametrize(
    'changed, values, label',
    [
        ({}, (60, 61), 'Dice on the test set (%)'),
        ({}, (0.6, 0.7), 'Dice on the test set'),
        (dict(rule='greater'), (60, 61), 'Dice on the test set (%)'),
        (dict(rule='less'), (9, 8), 'Dice on the test set (lower is better)'),
        (
            dict(metric='IoU', rule='less', delta=True),
            (-9, -1.5),
            'Delta_b/stl on the test set (%)',
        ),
    ],
)
def test_plot_says_what_is_better(tmp_path, monkeypatch, changed, values, label):
    made, axes = results(1, 2), []
    for rows, value in zip(made.values(), values, strict=True):
        rows[0].update(changed)
        rows[0]['scores']['Delta_b/stl' if 'delta' in changed else 'Dice'] = value
    monkeypatch.setattr(Figure, 'savefig', lambda figure, path: axes.append(figure.axes[0]))
    plot(made, tmp_path / 'plot.png', 'title')
    assert axes[0].get_ylabel() == label
    assert [line.get_ydata()[0] for line in axes[0].lines] == list(values)


def test_names_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    figure = Figure(figsize=(9, 6), dpi=100)
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    x, y = rng.uniform(4.0, 4.4, 14), rng.uniform(70, 78, 14)
    axes.plot(x, y, 'o')
    axes.set(xlim=(3, 4.45), ylim=(60, 90))
    name_points(axes, [f'Method{i}' for i in range(14)], [(0, 0, 0)] * 14, x, y, [0] * 14)
    boxes = [
        text.get_window_extent(canvas.get_renderer()) for text in axes.texts if text.get_text()
    ]
    assert len(boxes) == 14
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    marks = axes.transData.transform(np.column_stack([x, y]))
    assert not [1 for box in boxes for mark in marks if box.contains(*mark)]
    assert all(axes.bbox.contains(*corner) for box in boxes for corner in (box.min, box.max))
