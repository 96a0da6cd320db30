"""A tiny model, its config and an adapter."""

import gc
import os
import sys

os.environ['OMP_NUM_THREADS'] = (
    '1'  # before torch: small models on few cores lose more to thread start-up than they gain
)

from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402

from mmsam_peft.adapters.match import save_adapter  # noqa: E402
from mmsam_peft.apis.settings import SETTINGS, apply_settings
from mmsam_peft.models.backbones import SAMViT  # noqa: E402
from mmsam_peft.models.segmentors import PEFTSegmentor  # noqa: E402
from mmsam_peft.registry import MODELS  # noqa: E402

TINY = Path(__file__).parent / 'data' / 'tiny.py'
sys.path.append(str(TINY.parent))  # for published_files.py


def pytest_collection_finish() -> None:
    """MMEngine's data sets collect garbage when they are made, which takes a tenth of a second if
    all that is imported is looked at."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Callable[..., Config]:
    """``tiny({'model.backbone.peft.rank': 4})``: the config tests/data/tiny.py, its base weights in
    place."""
    monkeypatch.setenv('TINY_ROOT', str(tmp_path))

    def load(options: dict | None = None) -> Config:
        config = Config.fromfile(TINY)
        options = options or {}
        config.merge_from_dict(options)
        apply_settings(config, {name: options[name] for name in SETTINGS if name in options})
        return config

    torch.manual_seed(0)
    encoder = SAMViT(load().model.backbone.arch, img_size=64)
    torch.save(
        {f'image_encoder.{key}': value for key, value in encoder.state_dict().items()},
        tmp_path / 'base.pth',
    )
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        yield load


@pytest.fixture
def build(tiny) -> Callable[..., PEFTSegmentor]:
    """``build(options, trained=True)``: the tiny model, with random values in what it trains where
    ``trained``."""

    def build(options: dict | None = None, trained: bool = False) -> PEFTSegmentor:
        model = MODELS.build(tiny(options).model)
        model.init_weights()
        torch.manual_seed(1)
        for parameter in model.parameters():
            if trained and parameter.requires_grad:
                parameter.data.normal_(std=0.1)
        return model.eval()

    return build


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of Hugging Face's kind on this machine, and an empty cache; see ``loopback_hub``."""
    from huggingface_hub import constants as known
    from loopback_hub import running

    monkeypatch.delenv('HF_TOKEN', raising=False)
    monkeypatch.setattr(known, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(known, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(known, 'HF_TOKEN_PATH', str(tmp_path / 'token'))
    with running() as hub:
        monkeypatch.setattr(known, 'ENDPOINT', hub.url)
        template = f'{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}'
        monkeypatch.setattr(known, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        yield hub


@pytest.fixture
def run() -> Callable[[PEFTSegmentor], torch.Tensor]:
    """The model's logits of fixed images."""

    def run(model: PEFTSegmentor) -> torch.Tensor:
        with torch.no_grad():
            return model.encode_decode(
                torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
                [dict(img_shape=(64, 64))],
            )

    return run


@pytest.fixture
def ready(build, tiny, tmp_path):
    """The config's path and an adapter of a model that finds something and misses something."""
    model = build(trained=True)
    meta = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
    save_adapter(model, tmp_path / 'adapter.safetensors', meta)
    tiny().dump(tmp_path / 'config.py')
    return tmp_path / 'config.py', tmp_path / 'adapter.safetensors'


@pytest.fixture
def randomise():
    """Gives every parameter a random value: none of a fresh model's zeros hides a mistake."""

    @torch.no_grad()
    def randomise(module):
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        return module

    return randomise


@pytest.fixture
def relative():
    """|a - b| / |b|."""
    return lambda a, b: ((a - b).norm() / b.norm()).item()
