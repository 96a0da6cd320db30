"""What each metric costs an image of 1024 x 1024, in processor milliseconds, against the forward
pass of ViT-B's encoder.

OMP_NUM_THREADS=1 python benchmarks/metrics.py --images 1000
    The masks are generated: smooth blobs, predicted with soft borders a little off; 12 classes for
    the metrics of several. Twenty different ones take turns.
"""

import argparse

import cv2
import numpy as np
import torch

from mmsam_peft.analysis.machine import clock
from mmsam_peft.evaluation import BinaryMetric, BoundaryMetric, IoUMetric, SaliencyMetric
from mmsam_peft.models.backbones import SAMViT

SIDE, DIFFERENT, CLASSES = 1024, 20, 12
METRICS = {
    'BinaryMetric': (BinaryMetric(), False),
    'SaliencyMetric': (SaliencyMetric(), False),
    'BoundaryMetric': (BoundaryMetric(), False),
    'IoUMetric, 12 classes': (IoUMetric(iou_metrics=['mIoU']), True),
    'BoundaryMetric, 12 classes': (BoundaryMetric(num_classes=CLASSES), True),
}


def field(rng: np.random.Generator, knots: int) -> np.ndarray:
    values = rng.random((knots, knots)).astype(np.float32)
    return cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def sample(rng: np.random.Generator, several: bool) -> dict:
    shape = field(rng, int(rng.integers(4, 12)))
    guess = shape + 0.1 * field(rng, 24) - 0.05
    if several:
        label, found = ((CLASSES * one).clip(0, CLASSES - 1) for one in (shape, guess))
        logits = found
    else:
        bound = rng.uniform(0.4, 0.9)
        logits = 1 / (1 + np.exp(-40 * (guess - bound)))
        label, found = shape > bound, logits > 0.5
    return dict(
        seg_logits=dict(data=torch.from_numpy(logits)[None]),
        pred_sem_seg=dict(data=torch.from_numpy(found.astype(np.int64))[None]),
        gt_sem_seg=dict(data=torch.from_numpy(label.astype(np.int64))[None]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=int, default=1000)
    images = parser.parse_args().images
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    samples = {
        several: [sample(rng, several) for _ in range(DIFFERENT)] for several in (False, True)
    }
    encoder = SAMViT('base', img_size=SIDE).eval()
    with torch.no_grad():
        start = clock('cpu')
        encoder(torch.zeros(1, 3, SIDE, SIDE))
        forward = clock('cpu') - start
    print(f'encoder: {1000 * forward:,.0f} ms')
    for name, (metric, several) in METRICS.items():
        metric.dataset_meta = dict(classes=list(map(str, range(CLASSES))))
        start = clock('cpu')
        for number in range(images):
            metric.process({}, [samples[several][number % DIFFERENT]])
        metric.evaluate(images)
        each = (clock('cpu') - start) / images
        print(f'{name}: {1000 * each:.1f} ms, {each / forward:.2%} of the encoder', flush=True)


if __name__ == '__main__':
    main()
