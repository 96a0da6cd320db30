"""A multi-task training that ended in the middle goes on where it was, with what its weighting had
learnt."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from safetensors.torch import load_file

from mmsam_peft.apis.settings import apply_settings

pytestmark = pytest.mark.slow

NUMBERS = count()
CONFIG = Path(__file__).parents[2] / 'configs/talora/custom_multitask.py'
WEIGHTINGS = dict(
    Uncertainty={'log_variances'}, DWA={'iterations', 'totals', 'means'}, PCGrad={'draw'}
)
ARCH = dict(
    embed_dim=16,
    depth=2,
    num_heads=2,
    window_size=2,
    global_attn_indexes=(1,),
    out_channels=16,
    _delete_=True,
)


class Stop(Hook):
    """Ends training before the third epoch, as a crash would."""

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.epoch == 2:
            raise InterruptedError


@pytest.fixture
def data(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for i in range(4):
            labels = dict(
                seg=rng.integers(0, 2, (24, 32), dtype=np.uint8),
                normals=np.full((24, 32, 3), 201, np.uint8),
                depth=rng.integers(1, 9000, (24, 32)).astype(np.uint16),
            )
            for folder, pixels in dict(
                labels, img=rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            ).items():
                path = tmp_path / f'data/{folder}_dir/{split}/{i}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return tmp_path / 'data'


@pytest.fixture
def make_runner(data, scope, monkeypatch) -> Callable[..., Runner]:
    """``make_runner(weighting, work_dir, resume)``: two iterations of two images an epoch, four
    epochs."""
    monkeypatch.setattr(Config, 'pretty_text', property(str))

    def make(weighting: str, work_dir: Path, resume: bool = False) -> Runner:
        config = Config.fromfile(CONFIG)
        options = {
            f'{part}_dataloader.{key}': value
            for part in ('train', 'val')
            for key, value in {
                'num_workers': 0,
                'persistent_workers': False,
                'dataset.data_root': str(data),
            }.items()
        }
        apply_settings(config, dict(image_size=32))
        config.merge_from_dict(
            options
            | {
                'model.checkpoint': None,
                'model.backbone.arch': ARCH,
                'model.backbone.img_size': 32,
                'model.backbone.peft': dict(ranks=(2, 2, 2), dropout=0.0),
                'model.decode_head.in_channels': 16,
                'model.decode_head.num_heads': 2,
                'model.decode_head.mlp_dim': 16,
                'model.data_preprocessor.size': (32, 32),
                'model.weighting': dict(
                    type=weighting, **(dict(interval=2) if weighting == 'DWA' else {})
                ),
                'train_dataloader.batch_size': 2,
                'train_cfg': dict(max_epochs=4, val_interval=5),
                'param_scheduler': None,
                'train_dataloader.dataset.pipeline.4.size': 32,
                'train_dataloader.dataset.pipeline.3.prob': 0.0,
                'train_dataloader.dataset.pipeline.2.scales': (1,),
                'randomness': dict(seed=0),
                'work_dir': str(work_dir),
                'custom_hooks': config.custom_hooks[1:],
                'default_hooks.checkpoint.max_keep_ckpts': 4,
                'resume': resume,
            }
        )
        config.val_dataloader = config.val_cfg = config.val_evaluator = None
        config.default_hooks.checkpoint.save_best = None
        config.test_dataloader = config.test_cfg = config.test_evaluator = None
        config.experiment_name = config.visualizer.name = f'resume_{next(NUMBERS)}'
        return Runner.from_cfg(config)

    return make


@pytest.mark.parametrize('weighting', WEIGHTINGS)
def test_goes_on_where_it_was(make_runner, tmp_path, weighting):
    whole = make_runner(weighting, tmp_path / 'whole')
    whole.train()
    stopped = make_runner(weighting, tmp_path / 'parts')
    stopped.register_hook(Stop())
    with pytest.raises(InterruptedError):
        stopped.train()
    state = torch.load(tmp_path / 'parts/epoch_2.pth', weights_only=False)['state_dict']
    assert {
        key.removeprefix('weighting.') for key in state if key.startswith('weighting.')
    } == WEIGHTINGS[weighting]
    resumed = make_runner(weighting, tmp_path / 'parts', resume=True)
    resumed.train()
    assert resumed.epoch == 4 and resumed.iter == 8
    expected = whole.model.state_dict()
    assert all(value.equal(expected[key]) for key, value in resumed.model.state_dict().items())
    moved = {
        key
        for key in WEIGHTINGS[weighting]
        if not state[f'weighting.{key}'].equal(expected[f'weighting.{key}'])
    }
    assert moved >= WEIGHTINGS[weighting] - {'totals'}, 'it has to learn something for a test'
    adapter = load_file(tmp_path / 'parts/adapter_last.safetensors')
    assert not any(key.startswith('weighting.') for key in adapter)
    assert all(value.equal(expected[key]) for key, value in adapter.items())
