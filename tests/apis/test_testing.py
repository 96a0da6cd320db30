"""Configs that lack what tools/test.py would change."""

import pytest

from mmsam_peft.apis.testing import prepare_test


def test_a_config_without_hooks_and_pictures(tiny):
    cfg = tiny({'custom_hooks': None, 'default_hooks': None})
    prepare_test(cfg, 'a.pth', out='masks')
    assert (
        cfg.custom_hooks == [dict(type='SaveMasksHook', out_dir='masks')]
        and cfg.load_from == 'a.pth'
    )
    assert cfg.train_dataloader is None and not cfg.test_cfg.fp16
    with pytest.raises(ValueError, match='no default_hooks.visualization or no visualizer'):
        prepare_test(cfg, 'a.pth', show_dir='pictures')


def test_views_of_joined_sets(tiny):
    cfg = tiny({'tta_pipeline': [dict(type='LoadImageFromFile')]})
    part = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[part, dict(type='RepeatDataset', dataset=part, times=2)]
    )
    prepare_test(cfg, 'a.pth', tta=True, amp=True)
    first, second = cfg.test_dataloader.dataset.datasets
    assert (
        first.pipeline == second.dataset.pipeline == cfg.tta_pipeline
        and 'pipeline' not in cfg.test_dataloader.dataset
    )
    assert (
        cfg.model.type == 'BinaryTTAModel'
        and cfg.model.module.type == 'PEFTSegmentor'
        and cfg.test_cfg.fp16
    )


@pytest.mark.parametrize(
    'options, message',
    [
        ({'tta_model': None}, 'no tta_pipeline or no tta_model'),
        ({'test_dataloader': None}, 'no test_dataloader: .*predict.py'),
        ({'test_evaluator': None, 'test_cfg': None}, 'no test_evaluator, test_cfg: '),
    ],
)
def test_what_is_missing(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        prepare_test(tiny(options), 'a.pth', tta=True)
