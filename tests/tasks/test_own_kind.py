"""The kind of task that docs/multi_task.md writes, from label files to pictures: nothing else has
to know of it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from PIL import Image

from mmsam_peft.datasets import check_dataset
from mmsam_peft.registry import DATASETS, MODELS, TASKS
from mmsam_peft.tasks.base import GREY
from mmsam_peft.visualization.panel import panel, panel_items

GUIDE = Path(__file__).parents[2] / 'docs/multi_task.md'
CONFIGS = [dict(type='Albedo', name='albedo', weight=2.0), dict(type='Depth', name='depth')]
PIPELINE = [
    dict(type='LoadImageOrArray'),
    dict(type='LoadMultiTaskLabels'),
    dict(type='MultiTaskZoomCrop', scales=(1.5,)),
    dict(type='MultiTaskFlip', prob=1),
    dict(type='MultiTaskResize', size=32),
    dict(type='PackMultiTaskInputs'),
]


@pytest.fixture
def registered():
    exec(re.findall('```python\n(.*?)```', GUIDE.read_text(), re.DOTALL)[-1], {})
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        yield
    del TASKS.module_dict['Albedo']


@pytest.fixture
def dataset(registered, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(2):
        label = rng.uniform(size=(24, 32, 2))
        label[8:16] = np.nan  # some of it in every crop
        for name, value in dict(albedo=label, depth=rng.uniform(1, 2, (24, 32))).items():
            (tmp_path / f'{name}_dir/train').mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / f'{name}_dir/train/{i}.npy', value)
        (tmp_path / 'img_dir/train').mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(
            tmp_path / f'img_dir/train/{i}.png'
        )
    return DATASETS.build(
        dict(type='MultiTaskDataset', tasks=CONFIGS, data_root=str(tmp_path), pipeline=PIPELINE)
    )


def test_from_files_to_pictures(dataset):
    torch.manual_seed(0)
    arch = dict(embed_dim=16, depth=1, num_heads=2, global_attn_indexes=(0,), out_channels=16)
    model = MODELS.build(
        ConfigDict(
            type='MultiTaskSegmentor',
            tasks=CONFIGS,
            backbone=dict(
                type='SAMViT',
                arch=arch,
                img_size=32,
                peft=dict(type='TALoRA', num_tasks=2, ranks=(2, 2, 2)),
            ),
            decode_head=dict(type='MSAMHead', in_channels=16, num_heads=2, mlp_dim=16),
            test_cfg=dict(mode='whole'),
            data_preprocessor=dict(
                type='SegDataPreProcessor', mean=[128.0] * 3, std=[64.0] * 3, size=(32, 32)
            ),
        )
    )
    check_dataset(dataset, tasks=model.tasks)
    batch = pseudo_collate([dataset[0], dataset[1]])
    label = batch['data_samples'][0].gt_albedo
    assert (
        label.data.shape == (2, 24, 32)
        and label.data.isfinite().all()
        and 0 < label.valid.float().mean() < 1
    )

    log = model.train_step(batch, OptimWrapper(torch.optim.Adam(model.parameters(), lr=0.01)))
    expected = (2 * log['albedo.loss'] + log['depth.loss']) / 3 + log['loss_ortho']
    assert log['loss'].item() == pytest.approx(expected.item())

    data = model.data_preprocessor(batch, True)
    for sample in data['data_samples']:
        sample.set_metainfo(dict(ori_shape=(24, 32)))
    with torch.no_grad():
        samples = model.eval().predict(**data)
    evaluator = Evaluator([dict(type='MultiTaskMetric', tasks=CONFIGS[:1])])
    evaluator.process(samples)
    errors = [
        (one.pred_albedo.data - one.gt_albedo.data)[one.gt_albedo.valid.expand(2, 24, 32)]
        for one in samples
    ]
    expected = 2 * torch.cat(errors).square().mean().item()
    assert evaluator.evaluate(2) == {'albedo/error': pytest.approx(expected, rel=1e-6)}

    picture = panel(np.zeros((24, 32, 3), np.uint8), panel_items(model.tasks.values(), samples[0]))
    assert picture.shape[1] > 3 * 330 and picture.dtype == np.uint8
    drawn = model.tasks['albedo'].draw(np.array([[[1.0, np.nan]], [[0.0, 1.0]]]))
    assert drawn.tolist() == [[[255, 0, 0], list(GREY)]]
