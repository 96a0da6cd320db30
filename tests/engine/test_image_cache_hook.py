"""A run with stored images is the run without."""

import torch

from mmsam_peft.datasets.image_cache import StoredImages


def test_training_and_validation_are_as_without(make_runner, root):
    def trained(options: dict) -> dict:
        workers = {f'{part}_dataloader.num_workers': 1 for part in ('train', 'val')}
        runner = make_runner({**workers, 'train_cfg.max_epochs': 2, **options})
        runner.train()
        for loader in (runner.train_dataloader, runner.val_dataloader):
            assert isinstance(loader.dataset.pipeline, StoredImages) is bool(options)
        return {name: value.clone() for name, value in runner.model.state_dict().items()}

    hook = dict(type='ImageCacheHook', folder=str(root / 'c'))
    stored = trained({'default_hooks.image_cache': hook})
    found = sorted((root / 'c').glob('??/*'))
    assert len(found) == 8  # six images to train on, two to validate
    plain = trained({})
    for name, value in plain.items():
        assert torch.equal(value, stored[name]), name


def test_no_room_is_said(make_runner, root):
    (root / 'c').mkdir()
    (root / 'c' / 'old').write_bytes(bytes(2000))
    said = []
    hook = dict(type='ImageCacheHook', folder=str(root / 'c'), max_gb=1e-6)
    runner = make_runner({'default_hooks.image_cache': hook})
    runner.logger.warning = said.append
    runner._test_loop = runner.build_test_loop(runner._test_loop)
    runner.call_hook('before_run')
    assert sum('Raise image_cache.max_gb' in text for text in said) == 1
    assert runner.test_loop.dataloader.dataset[0]['inputs'].shape == (3, 64, 64)
    assert not list((root / 'c').glob('??/*'))
