import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from two_processes import run_in_two_processes

from mmsam_peft.evaluation import MultiTaskMetric, multi_task_metric

TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=3),
    dict(type='Depth', name='depth', protocol='per_image'),
    dict(type='SurfaceNormals', name='normals'),
]


def field(*arrays):
    return PixelData(**dict(zip(('data', 'valid'), map(torch.from_numpy, arrays), strict=False)))


def make(number: int = 5) -> list[SegDataSample]:
    """Images of which the second lacks depth and the third is without a valid depth."""
    rng, samples = np.random.default_rng(0), []
    for i in range(number):
        size = 4 + i, 9 - i
        sample = SegDataSample(metainfo=dict(img_path=f'{i}.png'))
        for name, pair in dict(
            seg=rng.integers(0, 3, (2, 1, *size)),
            depth=rng.uniform(1, 5, (2, 1, *size)).astype(np.float32),
            normals=rng.normal(size=(2, 3, *size)).astype(np.float32),
        ).items():
            sample.set_field(field(pair[0]), f'pred_{name}')
            if (i, name) != (1, 'depth'):
                sample.set_field(
                    field(pair[1], (rng.random((1, *size)) < 0.8) & ((i, name) != (2, 'depth'))),
                    f'gt_{name}',
                )
        samples.append(sample)
    return samples


def score(samples, tasks=TASKS, **settings):
    init_default_scope('mmsam_peft')
    evaluator = Evaluator([dict(type='MultiTaskMetric', tasks=tasks, **settings)])
    for i in range(0, len(samples), 2):
        evaluator.process(data_samples=samples[i : i + 2], data_batch={})
    return evaluator.evaluate(len(samples))


def values(samples, name, protocol, score):
    """Mean of ``score`` of the valid predictions and labels (c, N), of all images together or over
    images."""
    pairs = []
    for sample in samples:
        if f'gt_{name}' in sample:
            label = sample.get(f'gt_{name}')
            valid = label.valid[0].numpy()
            pairs.append(
                [
                    value.data.numpy()[:, valid].astype(float)
                    for value in (sample.get(f'pred_{name}'), label)
                ]
            )
    if protocol == 'pooled':
        pairs = [[np.concatenate(one, axis=1) for one in zip(*pairs, strict=True)]]
    return np.mean([score(p, g) for p, g in pairs if g.size])


def angle(p, g):
    p, g = (v / np.linalg.norm(v, axis=0) for v in (p, g))
    return np.degrees(np.arccos((p * g).sum(0).clip(-1, 1))).mean()


@pytest.fixture(scope='module')
def samples():
    return make()


@pytest.mark.parametrize('protocol', ['pooled', 'per_image'])
def test_against_numpy(samples, protocol):
    got = score(samples, [task | dict(protocol=protocol) for task in TASKS])
    assert len([name for name in got if '/IoU/' not in name]) == 2 + 6 + 5
    for key, function in {
        'seg/PixAcc': lambda p, g: 100 * (p == g).mean(),
        'depth/AErr': lambda p, g: np.abs(p - g).mean(),
        'depth/RMSE': lambda p, g: ((p - g) ** 2).mean() ** 0.5,
        'normals/mean': angle,
    }.items():
        assert got[key] == pytest.approx(
            values(samples, key.split('/')[0], protocol, function), rel=1e-9
        ), key


def test_each_task_has_its_own_protocol(samples):
    mixed, pooled, per_image = (
        score(samples, [task | how for task in TASKS])
        for how in ({}, dict(protocol='pooled'), dict(protocol='per_image'))
    )
    assert all(
        value == (per_image if key.startswith('depth') else pooled)[key]
        for key, value in mixed.items()
    )
    assert (
        mixed['depth/AErr'] != pooled['depth/AErr'] and mixed['seg/mIoU'] != per_image['seg/mIoU']
    )


def test_a_subset_of_the_tasks(samples):
    assert score(samples, TASKS[1:2]) == {
        key: value for key, value in score(samples).items() if key.startswith('depth')
    }


def test_delta_and_its_baseline_are_named(samples, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(multi_task_metric, 'print_log', lambda text, logger: logged.append(text))
    plain = score(samples)
    baseline = dict(
        seg=dict(mIoU=2 * plain['seg/mIoU']),
        depth=dict(AErr=2 * plain['depth/AErr']),
        normals={name: plain[f'normals/{name}'] for name in ('mean', 'median')},
    )
    path = tmp_path / 'lora_stl.json'
    path.write_text(json.dumps(baseline))
    assert score(samples, baseline=str(path)) == pytest.approx(
        plain | {'Delta_b/lora_stl': 100 * (-0.5 + 0.5 + 0) / 3}
    )
    assert list(MultiTaskMetric(TASKS, baseline=path).better) == [
        name for name in score(samples, baseline=str(path)) if '/IoU/' not in name
    ]
    logged.pop()
    assert logged == [
        f'Delta_b is against {path}, over seg mIoU; depth AErr; normals mean, median.'
    ]


def test_a_baseline_that_does_not_fit_is_an_error_before_training(tmp_path):
    (tmp_path / 'b.json').write_text('{"seg": {"mIoU": 1}}')
    with pytest.raises(
        ValueError, match=r"b.json has the tasks \['seg'\], expected those of the metric, \['depth'"
    ):
        MultiTaskMetric(TASKS, baseline=tmp_path / 'b.json')


def changed(samples, **fields):
    copies = [sample.clone() for sample in samples]
    for key, value in fields.items():
        for sample in copies:
            if key in sample:
                sample.pop(key)
                if value is not None:
                    sample.set_field(value, key)
    return copies


def test_a_task_that_is_not_predicted(samples):
    with pytest.raises(
        ValueError,
        match=r"Depth 'depth', image 0.png: the model does not predict this task, only \['normals'",
    ):
        score(changed(samples, pred_depth=None))


def test_a_task_without_a_label(samples):
    with pytest.raises(
        ValueError, match="Depth 'depth' has no label in any of the 5 evaluated images"
    ):
        score(changed(samples, gt_depth=None))
    with pytest.raises(
        ValueError, match="Depth 'depth' has no labelled pixel in any of the 1 evaluated"
    ):
        score(samples[1:3])


def test_other_sizes(samples):
    with pytest.raises(
        ValueError,
        match=r"'seg', image 0.png: prediction \(1, 8, 18\), label \(1, 4, 9\) and validity",
    ):
        score(changed(samples, pred_seg=field(np.zeros((1, 8, 18), int))))
    with pytest.raises(
        ValueError, match=r"'normals', image 0.png: prediction \(1, 4, 9\), label \(3, 4, 9\)"
    ):
        score(changed(samples, pred_normals=field(np.zeros((1, 4, 9)))))
    with pytest.raises(
        ValueError, match=r"'normals', image 0.png: prediction \(3, 4, 9\), label \(1, 4, 9\)"
    ):
        score(changed(samples, gt_normals=field(np.zeros((1, 4, 9)), np.ones((1, 4, 9), bool))))


def test_predictions_that_are_not_finite(samples):
    bad = changed(samples[:1], pred_depth=field(np.full((1, 4, 9), np.nan)))
    with pytest.raises(ValueError, match="'depth', image 0.png: the prediction is not finite"):
        score(bad)
    assert not samples[2].gt_depth.valid.any()
    samples = [samples[0], *changed(samples[2:3], pred_depth=field(np.full((1, 6, 7), np.nan)))]
    assert np.isfinite(score(samples)['depth/AErr'])  # nothing is asked of pixels without a label


def worker(rank: int, folder: Path) -> None:
    """Rank r has the images r, r + 2, ..., the last of rank 1 being a repetition, as MMEngine's
    sampler gives them."""
    metric, samples = MultiTaskMetric(TASKS), make()
    metric.collect_dir = str(folder / 'parts')
    for sample in [*samples, samples[0]][rank::2]:
        metric.process({}, [sample.to_dict()])
    (folder / f'{rank}.pkl').write_bytes(pickle.dumps(metric.evaluate(len(samples))))


@pytest.mark.slow
def test_two_processes(samples, tmp_path):
    run_in_two_processes(__file__, tmp_path)
    first, second = (pickle.loads((tmp_path / f'{rank}.pkl').read_bytes()) for rank in (0, 1))
    assert first == second == pytest.approx(score(samples), rel=1e-12)
