import json

import pytest

from mmsam_peft.evaluation.delta import collect_baseline, delta_b, load_baseline, read_scores
from mmsam_peft.tasks import build_tasks


@pytest.fixture
def tasks():
    return build_tasks(
        [
            dict(type='SemanticSegmentation', name='seg', num_classes=3),
            dict(type='Depth', name='depth'),
            dict(type='SurfaceNormals', name='normals'),
        ]
    )


BASELINE = dict(
    seg=dict(mIoU=50.0, PixAcc=80.0), depth=dict(AErr=0.4, RErr=0.2), normals=dict(mean=20.0)
)


def write(tmp_path, content):
    path = tmp_path / 'single.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_by_hand(tasks):
    scores = dict(
        seg=dict(mIoU=55.0, PixAcc=76.0),
        depth=dict(AErr=0.3, RErr=0.25, RMSE=7),
        normals=dict(mean=25.0, median=9),
    )
    seg, depth, normals = (0.1 - 0.05) / 2, (0.25 - 0.25) / 2, -0.25
    assert delta_b(scores, BASELINE, tasks) == pytest.approx(100 * (seg + depth + normals) / 3)


def test_of_the_baseline_itself_is_zero_and_better_is_positive(tasks):
    assert delta_b(BASELINE, BASELINE, tasks) == 0
    for task in tasks:
        for metric, value in BASELINE[task.name].items():
            higher = BASELINE | {task.name: BASELINE[task.name] | {metric: 1.1 * value}}
            weight = 10 / 3 / len(BASELINE[task.name])
            assert delta_b(higher, BASELINE, tasks) == pytest.approx(
                weight if task.better[metric] == 'higher' else -weight
            )


def test_load(tmp_path, tasks):
    assert load_baseline(write(tmp_path, BASELINE), tasks) == BASELINE


@pytest.mark.parametrize(
    'content, match',
    [
        ('{"seg": ', 'is not JSON like'),
        ([1, 2], 'is not JSON like'),
        (dict(seg=3), 'is not JSON like'),
        (
            {name: BASELINE[name] for name in ('seg', 'depth')},
            r"tasks \['depth', 'seg'\], expected .*'depth', 'normals', 'seg'",
        ),
        (BASELINE | dict(edges=dict(loss=1)), "the tasks .*'edges'.*expected"),
        (
            BASELINE | dict(seg=dict(AErr=1)),
            r"for 'seg' the metrics \['AErr'\], expected one or more of \['PixAcc', 'mIoU'\]",
        ),
        (BASELINE | dict(seg={}), r"for 'seg' the metrics \[\], expected"),
        (
            BASELINE | dict(seg=dict(mIoU=0)),
            r"for 'seg' \{'mIoU': 0\}: gains are relative to positive",
        ),
        (BASELINE | dict(seg=dict(mIoU='50')), "'mIoU': '50'"),
        (BASELINE | dict(depth=dict(AErr=float('nan'))), "'AErr': nan"),
    ],
)
def test_bad_files(tmp_path, tasks, content, match):
    with pytest.raises(ValueError, match=match) as error:
        load_baseline(write(tmp_path, content), tasks)
    assert 'single.json' in str(error.value)


def test_missing_file(tmp_path, tasks):
    with pytest.raises(FileNotFoundError, match="none.json' does not exist: it is a JSON file"):
        load_baseline(tmp_path / 'none.json', tasks)


RUNS = {
    'seg.json': {'seg/mIoU': 50.0, 'seg/PixAcc': 80.0},
    'depth.json': {
        'depth/AErr': 0.4,
        'depth/RErr': 0.2,
        'depth/RMSE': 1.0,
        'depth/delta1': 60.0,
        'depth/delta2': 80.0,
        'depth/delta3': 90.0,
        'Delta_b/old': -3.0,
        'edges/loss': 1.0,
    },
    'normals.json': {
        'normals/mean': 20.0,
        'normals/median': 9.0,
        'normals/11.25': 40.0,
        'normals/22.5': 60.0,
        'normals/30': 70.0,
    },
}


def test_collects_all_metrics_of_the_tasks(tmp_path, tasks):
    baseline = collect_baseline(RUNS, tasks)
    assert {
        f'{task}/{metric}': value
        for task, metrics in baseline.items()
        for metric, value in metrics.items()
    } == {
        name: value
        for run in RUNS.values()
        for name, value in run.items()
        if name not in ('Delta_b/old', 'edges/loss')
    }
    assert load_baseline(write(tmp_path, baseline), tasks) == baseline
    together = {'all': {name: value for run in RUNS.values() for name, value in run.items()}}
    assert collect_baseline(together, tasks) == baseline


def test_collects_the_metrics_named(tasks):
    chosen = ['normals/mean', 'seg/PixAcc', 'depth/RErr', 'seg/mIoU', 'depth/AErr']
    assert collect_baseline(RUNS, tasks, chosen) == BASELINE
    zero = RUNS | {'seg.json': {'seg/mIoU': 0.0}}
    assert collect_baseline(
        RUNS | {'seg.json': {'seg/mIoU': 0.0, 'seg/PixAcc': 80.0}}, tasks, chosen[:3]
    ) == dict(seg=dict(PixAcc=80.0), depth=dict(RErr=0.2), normals=dict(mean=20.0))
    with pytest.raises(
        ValueError, match="for 'seg' {'mIoU': 0.0}: gains are relative to positive numbers only"
    ):
        collect_baseline(zero, tasks, ['seg/mIoU', *chosen[:1], 'depth/RErr'])


@pytest.mark.parametrize(
    'runs, metrics, match',
    [
        (
            RUNS | {'again.json': {'depth/AErr': 0.4}},
            None,
            "depth.json and again.json both have results of the task 'depth'",
        ),
        (
            RUNS | {'edges.json': {'edges/loss': 1.0}},
            None,
            'edges.json has edges/loss, expected .* seg, depth, normals',
        ),
        (RUNS | {'train.json': {}}, None, 'train.json has nothing, expected'),
        (
            {'seg.json': RUNS['seg.json']},
            None,
            'seg.json lacks depth/AErr .*: add the results of the tasks',
        ),
        ({}, None, 'Nothing lacks seg/mIoU'),
        (
            {'seg.json': RUNS['seg.json']},
            ['seg/mIoU'],
            r"seg.json has for 'depth' the metrics \[\], expected one or more",
        ),
        (
            RUNS,
            ['seg/AErr', 'seg/mIoU', 'edges/loss'],
            'got the metrics seg/AErr edges/loss, expected some of seg/mIoU seg/PixAcc',
        ),
        (
            RUNS | {'seg.json': {'seg/mIoU': 50.0, 'seg/PixAcc': float('nan')}},
            None,
            "'PixAcc': nan",
        ),
    ],
)
def test_results_that_make_no_baseline(tasks, runs, metrics, match):
    with pytest.raises(ValueError, match=match):
        collect_baseline(runs, tasks, metrics)


@pytest.mark.parametrize(
    'content',
    [
        {'seg/mIoU': 50.0, 'data_time': 0.1, 'time': 0.2},
        {'method': 'LoRA', 'seconds': 3, 'scores': {'seg/mIoU': 50.0}},
    ],
)
def test_reads_results_of_both_tools(tmp_path, content):
    assert read_scores(write(tmp_path, content)) == {'seg/mIoU': 50.0}


@pytest.mark.parametrize(
    'content', ['{"seg/mIoU": ', [1], '{"loss": 1}\n{"loss": 2}', {'scores': 3}]
)
def test_files_without_results(tmp_path, content):
    with pytest.raises(
        ValueError,
        match='single.json holds no results: .* Expected the JSON file that tools/test.py leaves',
    ):
        read_scores(write(tmp_path, content))
    with pytest.raises(FileNotFoundError, match='no file .*none.json; tools/test.py writes'):
        read_scores(tmp_path / 'none.json')
