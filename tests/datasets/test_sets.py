"""The named data sets and their configs, on generated files in the published layouts."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from published_files import write_layout

from mmsam_peft.datasets import CamVidDataset, KvasirDataset, Trans10KV2Dataset, check_dataset
from mmsam_peft.evaluation.training_checks import better_of
from mmsam_peft.registry import DATASETS, METRICS, TRANSFORMS

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/datasets'
NUM_CLASSES = dict(
    camo=2,
    camvid=11,
    custom=2,
    isic2017=2,
    kvasir=2,
    leaf=2,
    polyp=2,
    roads=2,
    sbu=2,
    trans10k=12,
    trans10k_v1=3,
)
PARTS = ('train', 'val', 'test')


@pytest.fixture
def config_of(write, tmp_path):
    """The config of a set, on a few images in its first layout."""

    def load(name: str) -> Config:
        config, rng = Config.fromfile(CONFIGS / f'{name}.py'), np.random.default_rng(0)
        kind = DATASETS.get(config.train_dataloader.dataset.type)
        options = dict(data_root=str(tmp_path), serialize_data=False)
        if name == 'custom':
            for split, number in product(PARTS, (1, 2)):
                write(
                    f'img_dir/{split}/{number}.jpg',
                    rng.integers(0, 256, (16, 16, 3), dtype=np.uint8),
                )
                write(
                    f'ann_dir/{split}/{number}.png',
                    255 * rng.integers(0, 2, (16, 16), dtype=np.uint8),
                )
        else:
            write_layout(tmp_path, kind)
            options |= dict(allow_partial=True)
        for part in PARTS:
            config[f'{part}_dataloader'].dataset.update(options)
        return config

    return load


@pytest.mark.parametrize(
    'kind, number', [(KvasirDataset, 2), (CamVidDataset, 11), (Trans10KV2Dataset, 12)]
)
def test_classes_and_colours(kind, number):
    classes, palette = kind.METAINFO['classes'], kind.METAINFO['palette']
    assert len(set(classes)) == len(set(map(tuple, palette))) == len(palette) == number


def first(metrics: dict | list) -> dict:
    return metrics[0] if isinstance(metrics, list) else metrics


def test_class_order():
    assert Trans10KV2Dataset.METAINFO['classes'] == (
        'background',
        'shelf',
        'jar',
        'freezer',
        'window',
        'door',
        'eyeglass',
        'cup',
        'wall',
        'bowl',
        'bottle',
        'box',
    )
    assert CamVidDataset.METAINFO['classes'] == (
        'sky',
        'building',
        'pole',
        'road',
        'pavement',
        'tree',
        'sign',
        'fence',
        'car',
        'pedestrian',
        'bicyclist',
    )


def test_trans10k_masks_may_lack_the_ending(write, tmp_path):
    write('train/images/1.jpg', np.zeros((4, 4, 3), dtype=np.uint8))
    write('train/masks_12/1.png', 11 * np.eye(4, dtype=np.uint8))
    dataset = Trans10KV2Dataset(data_root=str(tmp_path), allow_partial=True)
    check_dataset(dataset, num_classes=12)
    assert dataset.get_data_info(0)['seg_map_path'].endswith('masks_12/1.png')


@pytest.mark.parametrize('name', NUM_CLASSES)
def test_config_runs_on_the_published_layout(config_of, scope, name):
    config, seen = config_of(name), set()
    for part in PARTS:
        dataset = DATASETS.build(config[f'{part}_dataloader'].dataset)
        check_dataset(dataset, num_classes=NUM_CLASSES[name])
        assert not seen & {info['img_path'] for info in dataset.data_list}
        seen |= {info['img_path'] for info in dataset.data_list}
        sample = dataset[0]
        assert sample['inputs'].shape == (3, 1024, 1024)
        mask = sample['data_samples'].gt_sem_seg.data
        assert mask.shape == ((1, 1024, 1024) if part == 'train' else (1, 16, 16))
        assert set(mask.unique().tolist()) <= set(range(NUM_CLASSES[name]))
    best = config.default_hooks.checkpoint
    better = better_of(METRICS.build(first(config.val_evaluator)))[best.save_best]
    assert {'higher': 'greater', 'lower': 'less'}[better] == best.rule


@pytest.mark.parametrize('name', ['custom', 'trans10k'])
def test_config_flips_for_test_time_augmentation(config_of, scope, name):
    config = config_of(name)
    dataset = DATASETS.build({**config.test_dataloader.dataset, 'pipeline': config.tta_pipeline})
    check_dataset(dataset)
    plain, flipped = dataset[0]['inputs']
    np.testing.assert_array_equal(plain.numpy(), flipped.numpy()[..., ::-1])
    assert [sample.flip for sample in dataset[0]['data_samples']] == [False, True]


@pytest.mark.parametrize('name', NUM_CLASSES)
def test_config_metrics_build(scope, name):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    for evaluator in (config.val_evaluator, config.test_evaluator):
        for metric in evaluator if isinstance(evaluator, list) else [evaluator]:
            assert METRICS.build(metric).__class__.__name__ == metric['type']


def test_command_line_options_change_the_pipeline(scope):
    config = Config.fromfile(CONFIGS / 'custom.py')
    config.merge_from_dict(
        {
            'train_dataloader.dataset.mask_values': 'index',
            'train_dataloader.dataset.pipeline.2.scale': (64, 64),
        }
    )
    dataset = config.train_dataloader.dataset
    assert dataset.mask_values == 'index'
    assert TRANSFORMS.build(dataset.pipeline[2]).scale == (64, 64)
