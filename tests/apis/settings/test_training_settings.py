"""augment, val_interval and patience reach their places, in configs of one task and of several."""

from pathlib import Path

import pytest

from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.settings import SETTINGS, check_settings

from .test_settings import MULTI, NETWORK, SINGLE, write  # noqa: F401


def kinds(cfg) -> list[str]:
    assert cfg.train_pipeline == cfg.train_dataloader.dataset.pipeline
    return [step.type for step in cfg.train_dataloader.dataset.pipeline]


def test_augment_takes_the_place_of_random_steps(write):  # noqa: F811
    cfg = load_config(write(SINGLE, "augment = 'light'"))
    check_settings(cfg)
    assert kinds(cfg)[-3:] == ['RandomFlip', 'RandomAffine', 'PackSegInputs']
    assert kinds(cfg).count('RandomFlip') == 1
    assert all('Random' not in step.type for step in cfg.val_dataloader.dataset.pipeline)
    strong = load_config(write(SINGLE, "augment = 'light'"), {'augment': 'strong'})
    assert kinds(strong)[-4:-1] == ['RandomFlip', 'RandomAffine', 'RandomColour']
    assert strong.train_pipeline[-3].degrees == 20 and 'hue' not in strong.train_pipeline[-2]
    none = load_config(write(NETWORK, "augment = 'strong'"), {'augment': 'none'})
    assert not any('Random' in kind for kind in kinds(none))
    bands = load_config(write(SINGLE, "augment = 'strong'", 'pixels = dict(bands=[4, 2, 1])'))
    assert bands.train_pipeline[-2].hue == bands.train_pipeline[-2].saturation == 0


def test_augment_of_several_tasks(write):  # noqa: F811
    cfg = load_config(write(MULTI, "augment = 'light'"))
    check_settings(cfg)
    assert kinds(cfg) == [
        'LoadImageOrArray', 'LoadMultiTaskLabels', 'MultiTaskZoomCrop', 'MultiTaskFlip',
        'MultiTaskResize', 'PackMultiTaskInputs',
    ]  # fmt: skip
    with pytest.raises(ValueError, match="'normals' cannot be turned.*Use augment='light'"):
        load_config(write(MULTI, "augment = 'strong'"))


def test_what_augment_refuses(write):  # noqa: F811
    with pytest.raises(ValueError, match='none, light, strong'):
        load_config(write(SINGLE, "augment = 'medium'"))
    cfg = load_config(write(SINGLE, "augment = 'light'"))
    cfg.train_dataloader.dataset.pipeline.pop(-2)
    with pytest.raises(ValueError, match='train_dataloader.dataset.pipeline: RandomFlip'):
        check_settings(cfg)


def test_validation_and_patience(write):  # noqa: F811
    cfg = load_config(write(SINGLE, 'max_epochs = 60', 'val_interval = 4', 'patience = 3'))
    check_settings(cfg)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 4
    assert cfg.default_hooks.early_stopping == dict(type='EarlyStoppingHook', patience=3)
    assert cfg.param_scheduler[-1].end == 60
    shorter = load_config(write(SINGLE, 'max_epochs = 60', 'val_interval = 4'), {'max_epochs': 30})
    check_settings(shorter)  # as many validations as before
    assert shorter.train_cfg.val_interval == shorter.val_interval == 2
    off = load_config(write(SINGLE, 'patience = None'))
    assert 'early_stopping' not in off.default_hooks
    off = load_config(write(SINGLE, 'patience = 3'), {'patience': None})
    assert not off.default_hooks.get('early_stopping') and off.patience is None
    check_settings(off)
    for wrong in ('patience = 0', 'val_interval = 0.5'):
        with pytest.raises(ValueError, match='expected a whole number'):
            load_config(write(SINGLE, wrong))
    cfg.train_cfg.val_interval = 7
    with pytest.raises(ValueError, match='train_cfg.val_interval: 7'):
        check_settings(cfg)


def test_a_given_interval_is_kept_where_training_becomes_shorter(write):  # noqa: F811
    path = write(SINGLE, 'max_epochs = 40', 'val_interval = 10')
    for options in (dict(val_interval=2, max_epochs=8), dict(max_epochs=8, val_interval=2)):
        cfg = load_config(path, options)
        assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 2
    assert load_config(path, dict(max_epochs=8)).train_cfg.val_interval == 2
    assert load_config(path, dict(max_epochs=4)).train_cfg.val_interval == 1


def test_where_images_are_stored(write, tmp_path):  # noqa: F811
    usual = dict(type='ImageCacheHook', folder='work_dirs/image_cache', max_gb=50)
    cfg = load_config(write(SINGLE, 'image_cache = True'))
    check_settings(cfg)
    assert cfg.default_hooks.image_cache == usual and 'checkpoint' in cfg.default_hooks
    cfg.dump(str(tmp_path / 'dumped.py'))
    again = load_config(str(tmp_path / 'dumped.py'), {'image_cache.max_gb': 5})
    assert again.default_hooks.image_cache == dict(usual, max_gb=5)
    both = load_config(write(SINGLE), {'image_cache': True, 'image_cache.max_gb': 5})
    assert both.default_hooks.image_cache == dict(usual, max_gb=5)
    elsewhere = load_config(write(SINGLE), {'image_cache': 'fast/disk'})
    assert elsewhere.default_hooks.image_cache == dict(usual, folder='fast/disk')
    for wrong in ('0', 'dict(size=3)', 'dict(max_gb=0)', "''"):
        with pytest.raises(ValueError, match='image_cache.*expected'):
            load_config(write(SINGLE, f'image_cache = {wrong}'))
    cfg.default_hooks.image_cache = dict(usual, max_gb=1)
    with pytest.raises(ValueError, match=r'image_cache: .*max_gb.: 1'):
        check_settings(cfg)


def test_the_page_has_every_setting():
    page = (Path(__file__).parents[3] / 'docs/settings.md').read_text()
    assert [name for name in SETTINGS if f'| `{name} = ' not in page] == []
