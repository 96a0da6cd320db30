"""A tiny data set and a tiny model, trained once by the real tools, each run in a process of its
own."""

import os
import re
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mmsam_peft.apis import init_model, save_adapter
from mmsam_peft.models.backbones import SAMViT

ROOT = Path(__file__).parents[2]
SPLITS = dict(train=4, val=2, test=3)
ENV = {
    **os.environ,
    'OMP_NUM_THREADS': '1',
    'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
}

ARCH = dict(
    embed_dim=32, depth=2, num_heads=2, window_size=3, global_attn_indexes=(1,), out_channels=32
)
CONFIG = f"""
_base_ = '{ROOT / 'configs/convlora/custom.py'}'
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
tta_pipeline = _base_.tta_pipeline
train_pipeline[2].scale = test_pipeline[1].scale = tta_pipeline[1].transforms[0][0].scale = (64, 64)
train_dataloader = dict(
    batch_size=1, num_workers=0, persistent_workers=False,
    dataset=dict(data_root='DATA', pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root='DATA', pipeline=test_pipeline))
model = dict(
    checkpoint='CHECKPOINT',
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(
        arch=dict({ARCH}, _delete_=True), img_size=64, peft=dict(num_experts=2)),
    decode_head=dict(in_channels=32, num_heads=2, mlp_dim=32))
max_epochs, val_interval, patience, augment, lr = 2, 1, None, 'none', 5e-3
default_hooks = dict(visualization=dict(interval=1))
randomness = dict(seed=0)
"""

KILLER = """
import os
import signal

from mmengine.hooks import Hook

from mmsam_peft.registry import HOOKS


@HOOKS.register_module()
class Killer(Hook):
    def before_save_checkpoint(self, runner, checkpoint):
        if runner.iter > 4:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def launch(*command, check: bool = True, **env) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env={**ENV, **env}, timeout=600
    )
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope='session')
def start():
    """Runs a tool in a process of its own: ``start('train.py', CONFIG, ..., check=False,
    VARIABLE=...)``."""

    def run(tool: str, *arguments, **options) -> subprocess.CompletedProcess:
        return launch(
            'bash' if tool.endswith('.sh') else sys.executable,
            ROOT / 'tools' / tool,
            *arguments,
            **options,
        )

    return run


@pytest.fixture(scope='session')
def scores():
    """The last metrics that a run printed."""

    def read(log: str) -> dict[str, float]:
        line = [line for line in log.splitlines() if ' Dice: ' in line][-1]
        return {
            name: float(value)
            for name, value in re.findall(r' ((?:Dice|IoU|BER|NoC)(?:@\w+)?): ([\d.]+)', line)
        }

    return read


@pytest.fixture
def port() -> str:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


@pytest.fixture
def call(monkeypatch):
    """Runs a Python tool's ``main`` in this process, to see the exception it ends with."""
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # tools set it; this takes it back

    monkeypatch.syspath_prepend(ROOT / 'tools')  # as for a script

    def run(tool: str, *arguments) -> None:
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')

    return run


@pytest.fixture(scope='session')
def data(tmp_path_factory) -> Path:
    """Red discs on green, masks of 0 and 255."""
    root, rng = tmp_path_factory.mktemp('data'), np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for split, number in SPLITS.items():
        for i in range(number):
            disc = np.hypot(*(np.stack([y, x]) - rng.integers(20, 44, (2, 1, 1)))) < 14
            image = np.where(disc[..., None], [200, 60, 60], [40, 120, 40]) + rng.integers(
                0, 30, (64, 64, 3)
            )
            for folder, pixels in dict(img_dir=image, ann_dir=disc * 255).items():
                path = root / folder / split / f'{i}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope='session')
def base_weights(tmp_path_factory) -> Path:
    """An encoder of the tiny shape under SAM's keys."""
    torch.manual_seed(1)
    encoder = SAMViT(ARCH, img_size=64)
    path = tmp_path_factory.mktemp('base') / 'base.safetensors'
    save_file({f'image_encoder.{key}': value for key, value in encoder.state_dict().items()}, path)
    return path


@pytest.fixture(scope='session')
def config(tmp_path_factory, data, base_weights) -> Path:
    path = tmp_path_factory.mktemp('configs') / 'tiny.py'
    path.write_text(CONFIG.replace('DATA', str(data)).replace('CHECKPOINT', str(base_weights)))
    return path


@pytest.fixture(scope='session')
def trained(tmp_path_factory, start, config) -> Path:
    """The work directory of a training that was killed while it wrote its second of two
    checkpoints, and then resumed; ``resumed.log`` is what the second run printed."""
    place, work_dir = tmp_path_factory.mktemp('killed'), tmp_path_factory.mktemp('trained')
    (place / 'killer.py').write_text(KILLER)
    (place / 'killed.py').write_text(
        f"_base_ = '{config}'\ncustom_imports = dict(imports=['killer'])\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='Killer')]\n"
    )
    killed = start(
        'train.py', place / 'killed.py', '--work-dir', work_dir, check=False, PYTHONPATH=str(place)
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = start('train.py', config, '--work-dir', work_dir, '--resume', '--tensorboard')
    (work_dir / 'resumed.log').write_text(resumed.stdout)
    return work_dir


@pytest.fixture(scope='session')
def adapter(tmp_path_factory, config) -> Path:
    """Of a model that no training made, for what needs none."""
    path = tmp_path_factory.mktemp('adapter') / 'adapter.safetensors'
    save_moved(config, path)
    return path


def save_moved(config: Path, adapter: Path) -> None:
    """Saves the adapter of a config's model, all that it trains moved by random values."""
    torch.manual_seed(0)
    model = init_model(config, None, 'cpu')
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.1
    save_adapter(model, adapter, model.dataset_meta)


@pytest.fixture(scope='session')
def tested(tmp_path_factory, start, adapter, config) -> tuple[Path, str]:
    """The folder of a test run with pictures, and what it printed."""
    place = tmp_path_factory.mktemp('tested')
    options = [
        '--work-dir',
        place / 'log',
        '--out',
        place / 'masks',
        '--show-dir',
        place / 'pictures',
    ]
    return place, start('test.py', config, adapter, *options).stdout


@pytest.fixture
def lora(config, tmp_path):
    """A config with LoRA, and an adapter for it."""
    path, adapter = tmp_path / 'lora.py', tmp_path / 'adapter.safetensors'
    path.write_text(
        f"_base_ = '{config}'\nmodel = dict(backbone=dict(peft=dict(_delete_=True, type='LoRA')))"
    )
    save_moved(path, adapter)
    return path, adapter
