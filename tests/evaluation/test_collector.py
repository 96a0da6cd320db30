"""What is kept of an evaluation, against numpy on the samples."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample

from mmsam_peft.evaluation import BinaryMetric, MultiTaskMetric, PerSetMetric, SaliencyMetric
from mmsam_peft.evaluation.collector import Collector
from mmsam_peft.evaluation.examples import SAMPLED, Examples, choose
from mmsam_peft.evaluation.record import Record, read_record, write_record
from mmsam_peft.evaluation.threshold_curve import THRESHOLDS
from mmsam_peft.visualization.report import scored

TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=4),
    dict(type='Depth', name='depth', protocol='per_image'),
    dict(type='Saliency', name='sal'),
    dict(type='SurfaceNormals', name='normals'),
]


def binary(number: int, classes: int = 2) -> list[SegDataSample]:
    """Image i has probabilities that are right to another degree; some pixels are ignored, image 4
    has no valid one, image 5 no foreground."""
    samples = []
    for i in range(number):
        generator = torch.Generator().manual_seed(i)
        label = torch.randint(0, classes, (1, 12, 10 + i % 3), generator=generator)
        noise = torch.rand(label.shape, generator=generator)
        if i == 5:
            label[:] = 0
        right = noise < 0.5 + 0.04 * (i % 11)
        guess = torch.randint(0, classes, label.shape, generator=generator)
        found = torch.where(right, label, guess)
        logits = 0.5 + (found.float() - 0.5) * torch.rand(label.shape, generator=generator)
        label[:, :2] = 255
        if i == 4:
            label[:] = 255
        samples.append(
            SegDataSample(
                metainfo=dict(img_path=f'/images/{i}.png'),
                gt_sem_seg=PixelData(data=label),
                pred_sem_seg=PixelData(data=found),
                seg_logits=PixelData(data=logits),
            )
        )
    return samples


def evaluate(metrics: list, samples: list, views: dict, batch: int = 3, **options) -> Record:
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = dict(classes=('a', 'b', 'c', 'd'))
    collector = Collector(metrics, views, options.pop('main', None), **options)
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        evaluator.process(part)
        collector.add(part)
    scores = evaluator.evaluate(len(samples))
    return collector.finish(len(samples), dict(split='val', scores=scores))


def by_hand(sample: SegDataSample) -> float:
    """Dice in percent."""
    label, found = (sample.get(name).data.numpy() for name in ('gt_sem_seg', 'pred_sem_seg'))
    a, b = label[label != 255] == 1, found[label != 255] == 1
    return 200 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else 100.0


def check_scores(record: Record, digits: float = 1e-9) -> None:
    """From the sums of what was kept follows what the metrics gave, and from one image's its
    own."""
    assert record.counted
    for one in record.counted:
        sums = {name: np.asarray(value, float).sum(0) for name, value in one.numbers.items()}
        for name, value in one.tally.scores(sums, len(one.images)).items():
            assert record.info['scores'][name] == pytest.approx(value, abs=digits, nan_ok=True)


def test_several_test_sets():
    """Each has its own scores, intervals and table of classes; images of a set without any are
    none."""
    samples = binary(9, 4)
    for i, sample in enumerate(samples):
        sample.set_metainfo(dict(img_path=f'/{"ab"[i % 2]}/{i}.png'))
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        metric = PerSetMetric([dict(type='IoUMetric'), dict(type='BoundaryMetric', num_classes=4)])
        evaluator = Evaluator([metric])
    evaluator.dataset_meta = dict(classes=list('wxyz'), sets=dict(a='/a', b='/b', empty='/c'))
    collector = Collector([metric], {'': {}}, 'b/mIoU', curve=False)
    for sample in samples:
        evaluator.process([sample])
        collector.add([sample])
    record = collector.finish(9, dict(split='test', scores=evaluator.evaluate(9)))
    there = [one for one in record.counted if one.tally.set_name != 'empty']
    assert len(there) == 4 and not any(len(one.images) for one in record.counted[4:])
    check_scores(replace(record, counted=there), 0.006)  # IoUMetric rounds
    assert record.views[0].score == 'b/mIoU'
    assert {one.path[1] for one in record.views[0].examples} == {'b'}
    classes = scored.score(record).classes
    assert classes[''].keys() == {'a', 'b'}
    alone = IoUMetric()
    alone.dataset_meta = evaluator.dataset_meta
    alone.process({}, [sample.to_dict() for sample in samples[1::2]])
    right, union = (sum(result[k] for result in alone.results) for k in (0, 1))
    assert [row.iou for row in classes['']['b']] == pytest.approx((100 * right / union).tolist())


def test_binary_scores_are_those_of_the_metrics():
    samples = binary(20)
    record = evaluate(
        [SaliencyMetric(), BinaryMetric()], samples, {'': {}}, main='Dice', curve=True
    )
    check_scores(record)
    assert record.images == [f'/images/{i}.png' for i in range(20)]
    _, counted = record.counted
    assert counted.images.tolist() == [i for i in range(20) if i != 4]
    expected = [by_hand(sample) for i, sample in enumerate(samples) if i != 4]
    assert counted.of_images['Dice'] == pytest.approx(expected)
    (view,) = record.views
    assert view.score == record.info['main'] == 'Dice'
    order = sorted(expected, reverse=True)
    groups = {
        name: [one.score for one in view.examples if one.group == name]
        for name in ('best', 'median', 'worst')
    }
    assert groups['best'] == pytest.approx(order[:3])
    assert groups['worst'] == pytest.approx(order[:-4:-1])
    middle = np.median(expected)
    nearest = sorted(order[3:-3], key=lambda value: abs(value - middle))[:3]
    assert sorted(groups['median']) == pytest.approx(sorted(nearest))
    for one in view.examples:
        sample = samples[int(Path(one.path).stem)]
        assert (one.truth == sample.gt_sem_seg.data.numpy()).all()
        assert (one.prediction == sample.pred_sem_seg.data.numpy()).all()


def test_the_threshold_curve_is_dice_at_each_threshold():
    samples = binary(8)
    record = evaluate([BinaryMetric()], samples, {'': {}}, curve=True)
    for i, threshold in enumerate(THRESHOLDS):
        values = []
        for sample in samples:
            label = sample.gt_sem_seg.data.numpy()
            found = (sample.seg_logits.data.numpy() >= threshold - 1e-6)[label != 255]
            target = label[label != 255] == 1
            if target.size:
                both = (found & target).sum()
                size = found.sum() + target.sum()
                values.append(200 * both / size if size else 100.0)
        assert record.curve[i] == pytest.approx(np.mean(values), abs=1e-6)


def test_classes():
    samples = binary(15, classes=4)
    record = evaluate(
        [IoUMetric(iou_metrics=['mIoU', 'mDice'], prefix='x')], samples, {'': {}}, curve=False
    )
    check_scores(record, digits=0.006)  # which IoUMetric rounds
    (counted,) = record.counted
    assert record.info['main'] == record.views[0].score == 'x/mIoU'
    assert len(record.views[0].examples) == 9
    labels, found = (
        np.concatenate([sample.get(name).data.numpy().ravel() for sample in samples])
        for name in ('gt_sem_seg', 'pred_sem_seg')
    )
    labels, found = labels[labels != 255], found[labels != 255]
    sums = {name: value.sum(0) for name, value in counted.numbers.items()}
    for k, value in enumerate(counted.tally.class_scores(sums)):
        a, b = labels == k, found == k
        assert value == pytest.approx(100 * (a & b).sum() / (a | b).sum())


def tasks(number: int) -> list[SegDataSample]:
    samples = []
    for i in range(number):
        generator = torch.Generator().manual_seed(i)
        sample = SegDataSample(metainfo=dict(img_path=f'/images/{i}.png'))
        near = torch.rand((3, 9, 11), generator=generator)
        for name, truth, guess in (
            ('seg', (4 * near[:1]).long(), (4 * near[1:2]).long()),
            ('depth', near[:1] + 0.5, near[:1] + 0.5 + 0.1 * (i + 1)),
            ('sal', (near[:1] > 0.6).float(), near[1:2]),
            ('normals', torch.nn.functional.normalize(near, dim=0), near),
        ):
            valid = torch.ones(1, 9, 11, dtype=torch.bool)
            valid[:, :2] = False
            if (i, name) != (3, 'depth'):
                sample.set_field(PixelData(data=truth, valid=valid), f'gt_{name}')
            sample.set_field(PixelData(data=guess), f'pred_{name}')
        samples.append(sample)
    return samples


def test_several_tasks_and_the_file(tmp_path):
    """Everything is there again when the record is read from its file."""
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        views = {task['name']: dict(task=task) for task in TASKS}
        record = evaluate([MultiTaskMetric(TASKS)], tasks(7), views, curve=False)
        write_record(record, tmp_path / 'val.npz')
        again = read_record(tmp_path / 'val.npz')
    for one in (record, again):
        check_scores(one)
        depth = one.counted[1]
        assert depth.images.tolist() == [0, 1, 2, 4, 5, 6]
        assert depth.of_images['depth/AErr'] == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.6, 0.7])
        view = one.views[1]
        assert (view.name, view.score) == ('depth', 'depth/AErr')
        assert [one.path for one in view.examples if one.group == 'best'][0] == '/images/0.png'
        assert [one.path for one in view.examples if one.group == 'worst'][0] == '/images/6.png'
    for one, other in zip(record.views, again.views, strict=True):
        for a, b in zip(one.examples, other.examples, strict=True):
            assert (a.score, a.group, a.path) == (b.score, b.group, b.path)
            assert (a.prediction == b.prediction).all() and (a.truth == b.truth).all()
    (tmp_path / 'val.npz').write_bytes(b'no archive')
    with pytest.raises(ValueError, match='val.npz cannot be read .*remove it and evaluate again'):
        read_record(tmp_path / 'val.npz')


def test_too_many_numbers_are_not_held(monkeypatch):
    monkeypatch.setattr('mmsam_peft.evaluation.collector.MOST_NUMBERS', 30)
    record = evaluate([BinaryMetric()], binary(20), {'': {}}, curve=False)
    assert not record.counted[0].numbers and len(record.counted[0].of_images['Dice']) == 19


def test_examples_of_a_large_set_are_bounded():
    """The ends are exact, the middle is near; few images are looked at closely."""
    examples, made = Examples(3, higher=True), []
    scores = np.random.default_rng(0).permutation(10000) / 100
    for i, score in enumerate(scores):
        examples.offer(score, 0.1, f'{i:05}', lambda: made.append(0) or (np.zeros(1), np.zeros(1)))
    assert len(examples.spread) <= SAMPLED and len(made) < 800
    chosen = choose(examples.candidates(50.0), 3, True, 50.0)
    assert [one.score for one in chosen[:3]] == [99.99, 99.98, 99.97]
    assert [one.score for one in chosen[6:]] == [0, 0.01, 0.02]
    assert all(abs(one.score - 50) < 5 for one in chosen[3:6])
    assert [len({one.path for one in choose(chosen[:n], 3, True, 50.0)}) for n in range(4)] == [
        0, 1, 2, 3,
    ]  # fmt: skip


def shared(rank: int, images: list[SegDataSample], processes: int) -> Record | None:
    """As MMEngine's sampler gives images to processes: in turn, the first ones again at the end."""
    size = -(-len(images) // processes)
    mine = (images * 2)[rank : size * processes : processes]
    metric = BinaryMetric()
    collector = Collector([metric], {'': {}}, 'Dice', curve=True)
    for sample in mine:
        metric.process(None, [sample.to_dict()])
        collector.add([sample])
    scores = metric.evaluate(len(images))
    return collector.finish(len(images), dict(split='val', scores=scores))


def one_of_two(rank: int, folder: Path) -> None:
    os.chdir(folder)  # where MMEngine exchanges results
    torch.distributed.init_process_group(
        'gloo', f'file://{folder}/meeting', rank=rank, world_size=2
    )
    record = shared(rank, binary(11), 2)
    if record:
        write_record(record, folder / 'two.npz')
    torch.distributed.destroy_process_group()


def test_two_processes_keep_what_one_does(tmp_path):
    """With an image that has no valid pixel, and one that both processes are given."""
    context = multiprocessing.get_context('fork')  # spares two imports of everything
    processes = [context.Process(target=one_of_two, args=(rank, tmp_path)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0, 0]
    one, two = shared(0, binary(11), 1), read_record(tmp_path / 'two.npz')
    assert one.images == two.images and len(two.images) == 11
    check_scores(two)
    assert one.info['scores'] == two.info['scores']
    for name, values in one.counted[0].of_images.items():
        assert np.array_equal(values, two.counted[0].of_images[name], equal_nan=True)
    assert two.curve == pytest.approx(one.curve)
    assert [(e.group, e.path, e.score) for e in one.views[0].examples] == [
        (e.group, e.path, e.score) for e in two.views[0].examples
    ]
