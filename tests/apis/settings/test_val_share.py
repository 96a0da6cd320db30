"""val_share: training and validation hold out the same images."""

from pathlib import Path

import pytest

from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.settings import check_settings

CONFIGS = Path(__file__).parents[3] / 'configs'


@pytest.mark.parametrize('name', ['lora/polyp.py', 'talora/nyuv2.py'])
def test_reaches_every_loader(name):
    cfg = load_config(str(CONFIGS / name))
    assert cfg.default_hooks.checkpoint.save_best
    shares = {cfg[f'{part}_dataloader'].dataset.val_share for part in ('train', 'val', 'test')}
    assert shares == {0.1}
    cfg = load_config(str(CONFIGS / name), {'val_share': 0})
    assert cfg.train_dataloader.dataset.val_share == cfg.val_dataloader.dataset.val_share == 0
    assert cfg.default_hooks.checkpoint.save_best is None  # validation is the test


def test_disagreement_is_refused():
    cfg = load_config(str(CONFIGS / 'lora/polyp.py'), {'train_dataloader.dataset.val_share': 0.0})
    with pytest.raises(ValueError, match='different shares .* val_dataloader.dataset.val_share'):
        check_settings(cfg)
    with pytest.raises(ValueError, match='val_share=1: expected a share'):
        load_config(str(CONFIGS / 'lora/polyp.py'), {'val_share': 1})
