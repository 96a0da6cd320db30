"""Every metric of every kind by both protocols, through the evaluator, against numpy on lists of
pixels."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmsam_peft.registry import TASKS

KINDS = dict(
    SemanticSegmentation=dict(num_classes=6),
    HumanParts={},
    Depth={},
    InverseDepth={},
    SurfaceNormals={},
    Saliency={},
    Edges={},
)
Values = np.ndarray
"""(c, N)"""


def iou(p: Values, g: Values) -> float:
    pairs = [((p == k) & (g == k), (p == k) | (g == k)) for k in range(7)]
    return 100 * np.mean([both.sum() / either.sum() for both, either in pairs if either.any()])


def class_iou(k: int) -> Callable[[Values, Values], float]:
    return lambda p, g: 100 * ((p == k) & (g == k)).sum() / ((p == k) | (g == k)).sum()


def foreground(p: Values, g: Values) -> float:
    p, g = p >= 0.5, g == 1
    return 100 * (p & g).sum() / (p | g).sum() if (p | g).any() else 100.0


def f_curve(beta2: float) -> Callable[[Values, Values], np.ndarray]:
    def curve(p: Values, g: Values) -> np.ndarray:
        found, g = np.rint(255 * p).astype(int) >= np.arange(1, 256)[:, None], g == 1
        right = (found & g).sum(1)
        with np.errstate(invalid='ignore'):
            precision, recall = right / found.sum(1), right / g.sum()
            return 100 * np.nan_to_num(
                (1 + beta2) * precision * recall / (beta2 * precision + recall)
            )

    return curve


def edge_loss(p: Values, g: Values) -> float:
    p = p.clip(1e-7, 1 - 1e-7)
    return np.where(g == 1, -0.95 * np.log(p), -0.05 * np.log(1 - p)).mean()


def angles(p: Values, g: Values) -> np.ndarray:
    product = (p * g).sum(0) / np.linalg.norm(p, axis=0) / np.linalg.norm(g, axis=0)
    return np.degrees(np.arccos(product.clip(-1, 1)))


def within(bound: float) -> Callable[[Values, Values], float]:
    return lambda p, g: (
        100 * np.mean((p > 0) & (np.maximum(p / g, g / np.where(p > 0, p, 1)) < bound))
    )


CLASSES = dict(mIoU=iou, PixAcc=lambda p, g: 100 * (p == g).mean())
DEPTH = dict(AErr=lambda p, g: np.abs(p - g).mean(), RErr=lambda p, g: (np.abs(p - g) / g).mean())
BY_HAND = dict(
    SemanticSegmentation=CLASSES,
    HumanParts=CLASSES,
    InverseDepth=DEPTH,
    Depth=DEPTH
    | dict(RMSE=lambda p, g: ((p - g) ** 2).mean() ** 0.5)
    | {f'delta{k}': within(1.25**k) for k in (1, 2, 3)},
    SurfaceNormals=dict(
        mean=lambda p, g: angles(p, g).mean(), median=lambda p, g: np.median(angles(p, g))
    )
    | {
        bound: lambda p, g, bound=bound: 100 * (angles(p, g) < float(bound)).mean()
        for bound in ('11.25', '22.5', '30')
    },
    Saliency=dict(maxF=f_curve(0.3), mIoU=foreground),
    Edges=dict(loss=edge_loss, maxF_tolerance0=f_curve(1)),
)


def draw(
    kind: str, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and label (c, H, W), which agree about half."""
    close = rng.random((1, *size)) < 0.5
    if kind in ('SemanticSegmentation', 'HumanParts'):
        label = rng.integers(0, rng.integers(2, 7), (1, *size))
        return np.where(close, label, rng.integers(0, 6, (1, *size))), label
    if 'Depth' in kind:
        label = rng.uniform(0.5, 9, (1, *size)).astype(np.float32)
        return (label * rng.uniform(0.5, 1.8, (1, *size)) - 0.7 * ~close).astype(np.float32), label
    if kind == 'SurfaceNormals':
        label, noise = rng.normal(size=(2, 3, *size)).astype(np.float32)
        return label + noise * rng.uniform(0, 1, (1, *size)).astype(
            np.float32
        ), label / np.linalg.norm(label, axis=0)
    label = (rng.random((1, *size)) < rng.choice([0.0, 0.3, 0.7])).astype(np.float32)
    return np.where(close, 0.2 + 0.6 * label, rng.random((1, *size))).astype(np.float32), label


def make(rng: np.random.Generator, number: int) -> list[SegDataSample]:
    """Images of any sizes: of each task one in five is without a label, one in five without a valid
    pixel."""
    samples = []
    for i in range(number):
        size, sample = (
            tuple(rng.integers(3, 15, 2)),
            SegDataSample(metainfo=dict(img_path=f'{i}.png')),
        )
        for kind in KINDS:
            prediction, label = draw(kind, rng, size)
            share = rng.choice([1, 0.6, 0.1, 0])
            sample.set_field(PixelData(data=torch.from_numpy(prediction)), f'pred_{kind}')
            if rng.random() < 0.8:
                valid = torch.from_numpy(rng.random((1, *size)) < share)
                sample.set_field(PixelData(data=torch.from_numpy(label), valid=valid), f'gt_{kind}')
        samples.append(sample)
    return samples


def expected(kind: str, samples: list[SegDataSample], protocol: str, score: Callable) -> float:
    pairs = []
    for sample in samples:
        if f'gt_{kind}' in sample and sample.get(f'gt_{kind}').valid.any():
            label = sample.get(f'gt_{kind}')
            pairs.append(
                [
                    field.data.numpy()[:, label.valid[0].numpy()].astype(float)
                    for field in (sample.get(f'pred_{kind}'), label)
                ]
            )
    if protocol == 'pooled':
        pairs = [[np.concatenate(side, axis=1) for side in zip(*pairs, strict=True)]]
    return np.max(
        np.mean([score(p, g) for p, g in pairs], axis=0)
    )  # of a curve the maximum, after averaging


def test_all_are_here():
    assert set(KINDS) == set(TASKS.module_dict)
    for kind, settings in KINDS.items():
        assert set(BY_HAND[kind]) == set(TASKS.build(dict(type=kind, name='it', **settings)).better)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('protocol', ['pooled', 'per_image'])
def test_against_numpy(protocol, seed):
    samples = make(np.random.default_rng(seed), 12)
    tasks = [
        dict(type=kind, name=kind, protocol=protocol, **settings)
        for kind, settings in KINDS.items()
    ]
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        evaluator = Evaluator([dict(type='MultiTaskMetric', tasks=tasks)])
    for sample in samples:
        evaluator.process([sample])
    got = evaluator.evaluate(len(samples))
    classes = {name: got.pop(name) for name in list(got) if '/IoU/' in name}
    assert len(got) == sum(map(len, BY_HAND.values()))
    for k, name in enumerate(['0', '1', '2', '3', '4', '5']):
        one = class_iou(k)
        assert classes[f'SemanticSegmentation/IoU/{name}'] == pytest.approx(
            expected('SemanticSegmentation', samples, 'pooled', one), rel=1e-9
        )
    assert 'HumanParts/IoU/head' in classes
    for kind, metrics in BY_HAND.items():
        for name, score in metrics.items():
            tolerance = dict(abs=0.0051) if name == 'median' else dict(rel=1e-9)
            assert got[f'{kind}/{name}'] == pytest.approx(
                expected(kind, samples, protocol, score), **tolerance
            ), (kind, name)
