"""The named data sets and their configs, on generated files in the published layouts."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmsam_peft.datasets import CamVidDataset, KvasirDataset, Trans10KV2Dataset, check_dataset
from mmsam_peft.registry import DATASETS, METRICS, TRANSFORMS

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/datasets'
SPLITS = dict(
    kvasir=('train', 'val', 'test'),
    camvid=('train', 'val', 'test'),
    custom=('train', 'val', 'test'),
    trans10k=('train', 'validation', 'test'),
)
NUM_CLASSES = dict(kvasir=2, camvid=11, custom=2, trans10k=12)


@pytest.fixture
def write_set(write):
    """Two pairs for each split, images 20 high and 30 wide; the masks hold every class."""

    def save(name: str) -> None:
        rng = np.random.default_rng(0)
        for split in SPLITS[name]:
            for number in (1, 2):
                image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                mask = rng.integers(0, NUM_CLASSES[name], (20, 30), dtype=np.uint8)
                if name == 'trans10k':
                    write(f'{split}/images/{number}.jpg', image)
                    write(f'{split}/masks_12/{number}_mask.png', mask)
                else:
                    write(f'img_dir/{split}/{number}.jpg', image)
                    write(f'ann_dir/{split}/{number}.png', mask * 255 if name == 'custom' else mask)

    return save


@pytest.mark.parametrize(
    'kind, number', [(KvasirDataset, 2), (CamVidDataset, 11), (Trans10KV2Dataset, 12)]
)
def test_classes_and_colours(kind, number):
    classes, palette = kind.METAINFO['classes'], kind.METAINFO['palette']
    assert len(set(classes)) == len(set(map(tuple, palette))) == len(palette) == number


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
    prefix = dict(img_path='train/images', seg_map_path='train/masks_12')
    dataset = Trans10KV2Dataset(data_root=str(tmp_path), data_prefix=prefix)
    check_dataset(dataset, num_classes=12)
    assert dataset.get_data_info(0)['seg_map_path'].endswith('masks_12/1.png')


@pytest.mark.parametrize('name', SPLITS)
def test_config_runs_on_the_published_layout(write_set, scope, tmp_path, name):
    write_set(name)
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.merge_from_dict(
        {f'{part}_dataloader.dataset.data_root': str(tmp_path) for part in ('train', 'val', 'test')}
    )
    for part in ('train', 'val', 'test'):
        dataset = DATASETS.build(config[f'{part}_dataloader'].dataset)
        check_dataset(dataset, num_classes=NUM_CLASSES[name])
        assert len(dataset) == 2
        sample = dataset[1]
        assert sample['inputs'].shape == (3, 1024, 1024)
        mask = sample['data_samples'].gt_sem_seg.data
        assert mask.shape == ((1, 1024, 1024) if part == 'train' else (1, 20, 30))
        assert set(mask.unique().tolist()) == set(range(NUM_CLASSES[name]))


@pytest.mark.parametrize('name', SPLITS)
def test_config_flips_for_test_time_augmentation(write_set, scope, tmp_path, name):
    write_set(name)
    config = Config.fromfile(CONFIGS / f'{name}.py')
    dataset = DATASETS.build(
        {
            **config.test_dataloader.dataset,
            'data_root': str(tmp_path),
            'pipeline': config.tta_pipeline,
        }
    )
    check_dataset(dataset)
    plain, flipped = dataset[0]['inputs']
    np.testing.assert_array_equal(plain.numpy(), flipped.numpy()[..., ::-1])
    assert [sample.flip for sample in dataset[0]['data_samples']] == [False, True]


@pytest.mark.parametrize('name', SPLITS)
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
