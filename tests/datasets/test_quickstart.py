from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmsam_peft.datasets import QuickstartDataset, check_dataset
from mmsam_peft.registry import DATASETS, METRICS

CONFIG = Path(__file__).parents[2] / 'configs/_base_/datasets/quickstart.py'


def test_draws_on_first_use(tmp_path, capsys):
    root = tmp_path / 'new/quickstart'
    dataset = QuickstartDataset(str(root), num_images=3, lazy_init=True)
    assert not root.exists()
    dataset.full_init()
    assert 'drawing 3 roads images' in capsys.readouterr().out
    assert len(dataset) == 3
    assert (
        dataset.metainfo['classes'] == ('background', 'road')
        and len(dataset.metainfo['palette']) == 2
    )
    check_dataset(dataset, num_classes=2)
    assert len(QuickstartDataset(str(root), num_images=3)) == 3
    assert 'drawing' not in capsys.readouterr().out


def test_splits_share_a_folder_but_no_image(tmp_path):
    sets = [
        QuickstartDataset(str(tmp_path), split, num_images=2) for split in ('train', 'val', 'test')
    ]
    files = {Path(s[i]['img_path']).read_bytes() for s in sets for i in range(2)}
    assert len(files) == 6
    assert [len(s) for s in sets] == [2, 2, 2]


def test_usual_sizes(tmp_path):
    sizes = {
        split: QuickstartDataset(str(tmp_path), split, lazy_init=True).num_images
        for split in ('train', 'val', 'test')
    }
    assert sizes == dict(train=400, val=50, test=50)


def test_unknown_split(tmp_path):
    with pytest.raises(ValueError, match="got split='trian', expected one of"):
        QuickstartDataset(str(tmp_path), 'trian')


def test_config_gives_batches(scope, tmp_path):
    config = Config.fromfile(CONFIG)
    for split in ('train', 'val', 'test'):
        loader = config[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(tmp_path), num_images=8)
        batch = next(iter(Runner.build_dataloader(loader, seed=0)))
        assert len(batch['inputs']) == 8 and batch['inputs'][0].shape == (3, 256, 256)
        masks = np.stack([sample.gt_sem_seg.data.numpy() for sample in batch['data_samples']])
        assert np.unique(masks).tolist() == [0, 1] and masks.shape == (8, 1, 256, 256)
    METRICS.build(config.val_evaluator)
    METRICS.build(config.test_evaluator)


def test_config_tta_mirrors_image_and_keeps_the_mask(scope, tmp_path):
    config = Config.fromfile(CONFIG)
    settings = config.test_dataloader.dataset | dict(data_root=str(tmp_path), num_images=1)
    plain, mirrored = DATASETS.build(settings | dict(pipeline=config.tta_pipeline))[0]['inputs']
    assert (plain.flip(-1) == mirrored).all() and (plain != mirrored).any()
