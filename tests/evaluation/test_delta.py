import json

import pytest

from mmsam_peft.evaluation.delta import delta_b, load_baseline
from mmsam_peft.tasks import build_tasks


@pytest.fixture
def tasks():
    return build_tasks([dict(type='SemanticSegmentation', name='seg', num_classes=3), dict(type='Depth', name='depth'),
                        dict(type='SurfaceNormals', name='normals')])


BASELINE = dict(seg=dict(mIoU=50., PixAcc=80.), depth=dict(AErr=0.4, RErr=0.2), normals=dict(mean=20.))


def write(tmp_path, content):
    path = tmp_path / 'single.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_by_hand(tasks):
    scores = dict(seg=dict(mIoU=55., PixAcc=76.), depth=dict(AErr=0.3, RErr=0.25, RMSE=7), normals=dict(mean=25., median=9))
    seg, depth, normals = (0.1 - 0.05) / 2, (0.25 - 0.25) / 2, -0.25
    assert delta_b(scores, BASELINE, tasks) == pytest.approx(100 * (seg + depth + normals) / 3)


def test_of_the_baseline_itself_is_zero_and_better_is_positive(tasks):
    assert delta_b(BASELINE, BASELINE, tasks) == 0
    for task in tasks:
        for metric, value in BASELINE[task.name].items():
            higher = BASELINE | {task.name: BASELINE[task.name] | {metric: 1.1 * value}}
            weight = 10 / 3 / len(BASELINE[task.name])
            assert delta_b(higher, BASELINE, tasks) == pytest.approx(weight if task.better[metric] == 'higher' else -weight)


def test_load(tmp_path, tasks):
    assert load_baseline(write(tmp_path, BASELINE), tasks) == BASELINE


@pytest.mark.parametrize('content, match', [
    ('{"seg": ', 'is not JSON like'),
    ([1, 2], 'is not JSON like'),
    (dict(seg=3), 'is not JSON like'),
    ({name: BASELINE[name] for name in ('seg', 'depth')}, r"tasks \['depth', 'seg'\], expected .*'depth', 'normals', 'seg'"),
    (BASELINE | dict(edges=dict(loss=1)), "the tasks .*'edges'.*expected"),
    (BASELINE | dict(seg=dict(AErr=1)), r"for 'seg' the metrics \['AErr'\], expected one or more of \['PixAcc', 'mIoU'\]"),
    (BASELINE | dict(seg={}), r"for 'seg' the metrics \[\], expected"),
    (BASELINE | dict(seg=dict(mIoU=0)), r"for 'seg' \{'mIoU': 0\}: gains are relative to positive"),
    (BASELINE | dict(seg=dict(mIoU='50')), "'mIoU': '50'"),
    (BASELINE | dict(depth=dict(AErr=float('nan'))), "'AErr': nan"),
])
def test_bad_files(tmp_path, tasks, content, match):
    with pytest.raises(ValueError, match=match) as error:
        load_baseline(write(tmp_path, content), tasks)
    assert 'single.json' in str(error.value)


def test_missing_file(tmp_path, tasks):
    with pytest.raises(FileNotFoundError, match="none.json' does not exist: it is a JSON file"):
        load_baseline(tmp_path / 'none.json', tasks)
