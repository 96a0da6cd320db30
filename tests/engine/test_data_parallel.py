"""DistributedDataParallel without find_unused_parameters."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from two_processes import run_in_two_processes

from mmsam_peft.models.segmentors import PEFTSegmentor
from mmsam_peft.registry import MODELS, PEFT

TINY = Path(__file__).parents[1] / 'data' / 'tiny.py'
METHODS = sorted(PEFT.module_dict)
WITHOUT_DRAWS = {'TALoRA': dict(dropout=0.0)}
WITH_BATCH_STATISTICS = {
    'ConvLoRA': 'its gate draws noise, and its balance loss compares the samples of a batch'
}


def build(method: str) -> PEFTSegmentor:
    """In float64, so that a fault is far larger than any machine's rounding; with nothing that was
    added at its initial value: behind a zero, gradients begin too small to be seen."""
    config = Config.fromfile(TINY).model
    config.checkpoint, config.backbone.peft = (
        None,
        dict(type=method, **WITHOUT_DRAWS.get(method, {})),
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        model = MODELS.build(config)
    for name, parameter in model.backbone.named_parameters():
        if name in model.backbone.peft.added:
            parameter.data += torch.randn_like(parameter) * 0.1
    model.double().decode_head.pe_layer.float()  # SAM computes positions in float32
    return model


def train(model: torch.nn.Module, batch: slice, steps: int = 3) -> None:
    """SGD on a part of the same four images in every step."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 64, 64, generator=generator).double()[batch]
    labels = torch.randint(2, (4, 1, 64, 64), generator=generator)[batch]
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=dict(img_shape=(64, 64)))
        for label in labels
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        losses = model(images, samples, mode='loss')
        sum(losses[name] for name in losses if 'loss' in name).backward()
        optimizer.step()


def worker(rank: int, folder: Path) -> None:
    for method in METHODS:
        model = build(method).train()
        torch.manual_seed(rank)  # each process draws its own gate noise
        train(DistributedDataParallel(model), slice(2 * rank, 2 * rank + 2))
        torch.save(model.state_dict(), folder / f'{method}_{rank}.pth')


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> dict[str, tuple[dict[str, Tensor], ...]]:
    """Per method, the two processes' weights after three steps."""
    folder = tmp_path_factory.mktemp('parallel')
    run_in_two_processes(__file__, folder)
    return {
        method: tuple(torch.load(folder / f'{method}_{rank}.pth') for rank in (0, 1))
        for method in METHODS
    }


@pytest.mark.parametrize('method', METHODS)
def test_processes_agree_and_train_all_there_is_to_train(trained, method):
    first, second = trained[method]
    assert all(value.equal(second[key]) for key, value in first.items())
    start = build(method)
    changed = {key for key, value in start.state_dict().items() if not value.equal(first[key])}
    expected = {name for name, parameter in start.named_parameters() if parameter.requires_grad}
    assert changed <= expected
    assert all(name.endswith('k_proj.bias') for name in expected - changed), (
        'what all keys share moves no attention'
    )


@pytest.mark.parametrize(
    'method', [method for method in METHODS if method not in WITH_BATCH_STATISTICS]
)
def test_two_processes_equal_one_with_both_batches(trained, method):
    """Within 1e-5 of each tensor's largest update."""
    model = build(method).train()
    start = {key: value.clone() for key, value in model.state_dict().items()}
    train(model, slice(None))
    for key, value in model.state_dict().items():
        update, difference = (
            (value - start[key]).abs().max(),
            (value - trained[method][0][key]).abs().max(),
        )
        assert difference <= 1e-5 * update + 1e-12, key
