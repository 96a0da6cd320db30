"""The whole multi-task model in two processes, without ``find_unused_parameters``.

All pixels of all labels are valid, unless a test says otherwise: a loss is a mean over the valid
pixels of a process, so only where each has as many is the mean over processes that of the joint
batch.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from two_processes import run_in_two_processes

from mmsam_peft.engine import AutocastOptimWrapper
from mmsam_peft.models.segmentors import MultiTaskSegmentor
from mmsam_peft.registry import MODELS

TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=3),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals', weight=4.0),
]
METHODS = dict(
    TALoRA=dict(type='TALoRA', num_tasks=3, ranks=(2, 2, 2), dropout=0.0),
    MTLoRA=dict(type='TaskLoRA', num_tasks=3, rank=2, shared_rank=2),
    LoRA=dict(type='LoRA', rank=2),
)
JOINT, ONE_BY_ONE = False, True
EXACT = [
    ('TALoRA', 'Fixed', JOINT),
    ('TALoRA', 'Fixed', ONE_BY_ONE),
    ('TALoRA', 'Uncertainty', JOINT),
    ('TALoRA', 'Uncertainty', ONE_BY_ONE),
    ('TALoRA', 'PCGrad', JOINT),
    ('TALoRA', 'PCGrad', ONE_BY_ONE),
    ('MTLoRA', 'Fixed', ONE_BY_ONE),
    ('MTLoRA', 'Uncertainty', JOINT),
    ('MTLoRA', 'PCGrad', ONE_BY_ONE),
    ('LoRA', 'Fixed', JOINT),
    ('LoRA', 'Uncertainty', ONE_BY_ONE),
    ('LoRA', 'PCGrad', JOINT),
]
LACKING = [
    ('TALoRA', 'Fixed', JOINT),
    ('TALoRA', 'Uncertainty', ONE_BY_ONE),
    ('MTLoRA', 'MGDA', JOINT),
    ('LoRA', 'Fixed', ONE_BY_ONE),
]
ROUNDED = [
    ('TALoRA', 'Fixed', JOINT),
    ('TALoRA', 'Uncertainty', ONE_BY_ONE),
    ('TALoRA', 'PCGrad', JOINT),
]
Case = tuple[str, str, bool]


def build(method: str, weighting: str, one_by_one: bool) -> MultiTaskSegmentor:
    """In float64, with nothing that was added at its initial value: behind a zero, gradients begin
    too small to be seen."""
    arch = dict(
        embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=2, out_channels=16
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        model = MODELS.build(
            ConfigDict(
                type='MultiTaskSegmentor',
                tasks=TASKS,
                weighting=dict(type=weighting),
                one_by_one=one_by_one,
                backbone=dict(type='SAMViT', arch=arch, img_size=32, peft=METHODS[method]),
                decode_head=dict(type='MSAMHead', in_channels=16, depth=1, num_heads=2, mlp_dim=16),
                data_preprocessor=dict(
                    type='SegDataPreProcessor', mean=[0.0] * 3, std=[1.0] * 3, size=(32, 32)
                ),
            )
        )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.1
    model.double().decode_head.pe_layer.float()  # SAM computes positions in float32
    return model.train()


def batch(number: int, lacking: bool) -> dict:
    """Four images of 24 x 32 with labels of half the size; the last two lack depth if so told."""
    torch.manual_seed(number)
    samples = []
    for i in range(4):
        sample = SegDataSample(metainfo=dict(img_shape=(24, 32), ori_shape=(12, 16)))
        for name, data in dict(
            seg=torch.randint(3, (1, 12, 16)),
            depth=torch.rand(1, 12, 16) + 1,
            normals=F.normalize(torch.randn(3, 12, 16), dim=0),
        ).items():
            if not (lacking and i > 1 and name == 'depth'):
                sample.set_field(
                    PixelData(data=data, valid=torch.ones(1, 12, 16, dtype=torch.bool)),
                    f'gt_{name}',
                )
        samples.append(sample)
    return dict(inputs=list(torch.randn(4, 3, 24, 32)), data_samples=samples)


def train(
    model: nn.Module, parts: list[slice], lacking: bool = False, wrapper: type = OptimWrapper
) -> None:
    """Two steps of two iterations, each with ``parts`` of the four images, one part after the
    other."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    wrapper = wrapper(
        optimizer=torch.optim.SGD(trained, lr=0.1), accumulative_counts=2 * len(parts)
    )
    for number in range(4):
        whole = batch(number, lacking)
        for part in parts:
            model.train_step({key: value[part] for key, value in whole.items()}, wrapper)


FIRST, SECOND, ALL = slice(0, 2), slice(2, 4), slice(0, 4)


def run(
    kind: str, case: Case, parts: list[slice], wrap: Callable = lambda model: model
) -> MultiTaskSegmentor:
    """A model that was trained; ``wrap`` makes it data-parallel."""
    model, wrapper = build(*case), OptimWrapper
    if kind == 'rounded':
        model, wrapper = model.float(), AutocastOptimWrapper
    train(wrap(model), parts, kind == 'lacking', wrapper)
    return model


def worker(rank: int, folder: Path) -> None:
    states = {
        (kind, case): run(
            kind, case, [(FIRST, SECOND)[rank]], MMDistributedDataParallel
        ).state_dict()
        for kind, cases in dict(exact=EXACT, lacking=LACKING, rounded=ROUNDED).items()
        for case in cases
    }
    torch.save(states, folder / f'{rank}.pth')


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> list[dict[tuple, dict[str, Tensor]]]:
    """The two processes' weights after two steps, by case."""
    folder = tmp_path_factory.mktemp('parallel')
    run_in_two_processes(__file__, folder)
    return [torch.load(folder / f'{rank}.pth') for rank in (0, 1)]


def assert_same_updates(trained: list[dict], kind: str, case: Case, parts: list[slice]) -> None:
    """In both processes, within 1e-5 of the norm of each tensor's update in one process."""
    model, before, moved = run(kind, case, parts), build(*case).state_dict(), set()
    for key, value in model.state_dict().items():
        first, second = (states[kind, case][key] for states in trained)
        assert first.equal(second), key
        update = (value - before[key]).double().norm()
        assert (first - value).double().norm() <= 1e-5 * update + 1e-13, key
        moved |= {key} if update > 1e-9 else set()
    expected = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(name.endswith('k_proj.bias') for name in expected - moved), (
        'what all keys share moves no attention'
    )


@pytest.mark.parametrize('case', EXACT, ids=str)
def test_two_processes_equal_one_with_the_joint_batch(trained, case):
    """Also where the gradients of two iterations are accumulated, as they are here."""
    assert_same_updates(trained, 'exact', case, [ALL])


@pytest.mark.parametrize('case', LACKING, ids=str)
def test_a_process_whose_samples_lack_a_task(trained, case):
    """It goes on, and its loss counts as zero in the mean over processes: as if one process
    accumulated their batches."""
    assert_same_updates(trained, 'lacking', case, [FIRST, SECOND])


@pytest.mark.parametrize('case', ROUNDED, ids=str)
def test_mixed_precision(trained, case):
    """All updates together are the same up to the rounding of bfloat16; some tensors have little
    else."""
    model, start = (
        nn.utils.parameters_to_vector(one.parameters())
        for one in (run('rounded', case, [ALL]), build(*case))
    )
    update = (model - start).norm()
    for states in trained:
        assert all(
            value.equal(trained[0]['rounded', case][key])
            for key, value in states['rounded', case].items()
        )
        other = torch.cat(
            [states['rounded', case][name].flatten() for name, _ in build(*case).named_parameters()]
        )
        assert (other - model).norm() < 0.01 * update
