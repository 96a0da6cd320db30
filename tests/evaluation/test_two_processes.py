"""Each metric gives the same from two processes with unequal shares as from one."""

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

METRICS = [
    dict(type='BinaryMetric', empty='skip', ber_threshold=125 / 255),
    dict(type='SaliencyMetric', wf_beta2=0.3),
    dict(type='BoundaryMetric'),
    dict(type='IoUMetric', iou_metrics=['mIoU']),
]
IMAGES = 7


def sample(number: int) -> dict:
    """Some empty, one without a valid pixel."""
    rng = np.random.default_rng(number)
    label = rng.choice([0, 1, 255], (12, 14), p=[0.6, 0.3, 0.1])
    label[label == 1] = int(number != 2)
    probability = np.where(rng.random((12, 14)) < 0.3, 0.4 * label, rng.random((12, 14))).clip(0, 1)
    label = np.full_like(label, 255) if number == 3 else label
    return dict(
        pred_sem_seg=dict(data=torch.from_numpy((probability > 0.5).astype(np.int64))[None]),
        seg_logits=dict(data=torch.from_numpy(probability)[None].float()),
        gt_sem_seg=dict(data=torch.from_numpy(label)[None]),
    )


def scores(mine: list[int]) -> dict[str, float]:
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        evaluator = Evaluator(METRICS)
    evaluator.dataset_meta = dict(classes=('background', 'object'))
    for number in mine:
        evaluator.process(data_samples=[sample(number)])
    return {name: float(value) for name, value in evaluator.evaluate(IMAGES).items()}


def one_of_two(rank: int, folder: Path) -> None:
    os.chdir(folder)  # where MMEngine exchanges results
    torch.distributed.init_process_group('gloo', f'file://{folder}/it', rank=rank, world_size=2)
    shares = ([0, 2, 4, 6], [1, 3, 5, 0])  # as DefaultSampler deals them: one image comes twice
    (folder / f'{rank}.json').write_text(json.dumps(scores(shares[rank])))
    torch.distributed.destroy_process_group()


def test_two_processes(tmp_path):
    context = multiprocessing.get_context('fork')  # spares two imports of everything
    processes = [context.Process(target=one_of_two, args=(rank, tmp_path)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0, 0]
    alone = scores(list(range(IMAGES)))
    for rank in (0, 1):
        found = json.loads((tmp_path / f'{rank}.json').read_text())
        assert found == pytest.approx(alone, rel=1e-12)
    assert {'BER_per_image', 'wF', 'BoundaryIoU', 'IoU/object', 'mIoU'} <= alone.keys()
