"""Training steps of the whole multi-task model: one task after the other, checkpointing, bfloat16,
copies, files, merging."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from mmsam_peft.adapters.match import load_adapter, save_adapter
from mmsam_peft.engine import AutocastOptimWrapper
from mmsam_peft.models.segmentors import MultiTaskSegmentor
from mmsam_peft.registry import MODELS, WEIGHTINGS

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
AHEAD = sorted(set(WEIGHTINGS.module_dict) - {'GLS'})
EACH = pytest.mark.parametrize('method', METHODS)


def build(
    method: str = 'TALoRA',
    weighting: str = 'Fixed',
    one_by_one: bool = False,
    checkpointing: bool = False,
    tasks: list[dict] = TASKS,
) -> MultiTaskSegmentor:
    """In float64, with nothing that was added at its initial value: behind a zero, gradients begin
    too small to be seen."""
    arch = dict(
        embed_dim=16, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=2, out_channels=16
    )
    torch.manual_seed(0)
    model = MODELS.build(
        ConfigDict(
            type='MultiTaskSegmentor',
            tasks=tasks,
            weighting=dict(type=weighting),
            one_by_one=one_by_one,
            backbone=dict(
                type='SAMViT',
                arch=arch,
                img_size=32,
                peft=METHODS[method],
                checkpointing=checkpointing,
            ),
            decode_head=dict(type='MSAMHead', in_channels=16, depth=1, num_heads=2, mlp_dim=16),
            test_cfg=dict(mode='whole'),
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


def batch(seed: int = 0) -> dict:
    """Two images of 24 x 32 with labels of half the size, of which some pixels are not valid; the
    second lacks depth."""
    torch.manual_seed(seed)
    samples = []
    for i in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(24, 32), ori_shape=(12, 16)))
        for name, data in dict(
            seg=torch.randint(3, (1, 12, 16)),
            depth=torch.rand(1, 12, 16) + 1,
            normals=F.normalize(torch.randn(3, 12, 16), dim=0),
        ).items():
            if (i, name) != (1, 'depth'):
                sample.set_field(
                    PixelData(data=data, valid=torch.rand(1, 12, 16) < 0.8), f'gt_{name}'
                )
        samples.append(sample)
    return dict(inputs=list(torch.randn(2, 3, 24, 32)), data_samples=samples)


def steps(
    model: MultiTaskSegmentor, number: int = 1, wrapper: type = OptimWrapper, first: int = 0
) -> list[dict[str, Tensor]]:
    """SGD; what was logged."""
    wrapper = wrapper(
        torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
    )
    return [model.train_step(batch(seed), wrapper) for seed in range(first, first + number)]


def gradients(model: MultiTaskSegmentor) -> dict[str, Tensor]:
    """Of one step's scalar."""
    data = model.data_preprocessor(batch(), True)
    model.parse_losses(model(**data, mode='loss'))[0].backward()
    return {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def assert_close(
    found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5
) -> None:
    """Relative to each tensor's norm; 1e-15 is what rounding leaves of zero."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).norm() <= tolerance * value.norm() + 1e-15, name


@EACH
@pytest.mark.parametrize('weighting', AHEAD)
def test_one_by_one_is_the_joint_step(method, weighting):
    joint, apart = build(method, weighting), build(method, weighting, one_by_one=True)
    expected = gradients(joint)
    assert set(expected) == {
        name for name, parameter in joint.named_parameters() if parameter.requires_grad
    }
    assert_close(gradients(apart), expected)
    logged, expected_log = (steps(model, 3)[-1] for model in (apart, joint))
    assert set(logged) == set(expected_log)
    for key, value in expected_log.items():
        torch.testing.assert_close(logged[key].double(), value.double(), rtol=1e-5, atol=1e-12)


def test_what_cannot_run_one_by_one_is_an_error_at_once():
    with pytest.raises(
        ValueError, match='GLS needs all losses .* Run them jointly, or use another weighting'
    ):
        build(weighting='GLS', one_by_one=True)


@EACH
@pytest.mark.parametrize('weighting', ['Fixed', 'CAGrad'])
@pytest.mark.parametrize('one_by_one', [False, True])
def test_checkpointing_changes_no_gradient(method, weighting, one_by_one):
    assert_close(
        gradients(build(method, weighting, one_by_one, checkpointing=True)),
        gradients(build(method, weighting)),
    )


@EACH
@pytest.mark.parametrize('weighting', ['Fixed', 'Uncertainty', 'PCGrad'])
@pytest.mark.parametrize('one_by_one, checkpointing', [(False, False), (True, False), (True, True)])
def test_bfloat16(method, weighting, one_by_one, checkpointing):
    """The step has the direction and the length of that in float32, up to rounding."""
    exact, rounded = (
        build(method, weighting).float(),
        build(method, weighting, one_by_one, checkpointing).float(),
    )
    start = torch.nn.utils.parameters_to_vector(exact.parameters())
    seen = []
    rounded.backbone.neck[0].register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    steps(exact)
    log = steps(rounded, wrapper=AutocastOptimWrapper)[0]
    assert set(seen) == {torch.bfloat16} and all(value.isfinite() for value in log.values())
    expected, update = (
        torch.nn.utils.parameters_to_vector(model.parameters()) - start
        for model in (exact, rounded)
    )
    assert (
        0.98 < F.cosine_similarity(update, expected, dim=0)
        and 0.85 < update.norm() / expected.norm() < 1.15
    )
    assert not update.equal(expected)


def test_outputs_are_resized_in_float32():
    """In bfloat16 depth would be rounded to centimetres twice more, and its gradient be a sum in 8
    bits."""
    model, data = build().float(), batch()
    inputs = torch.stack(data['inputs'])
    outputs = torch.rand(2, 1, 8, 8, dtype=torch.bfloat16) * 5
    outputs.requires_grad_()
    model.outputs = lambda inputs, names: {name: outputs for name in names}
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.task_losses(inputs, data['data_samples'], ['depth'])['depth.loss']
    loss.backward()
    rounded, outputs = outputs, outputs.detach().double().requires_grad_()
    exact = model.task_losses(inputs, data['data_samples'], ['depth'])['depth.loss']
    exact.backward()
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)
    torch.testing.assert_close(rounded.grad.double(), outputs.grad, rtol=2**-8, atol=0)


@pytest.mark.parametrize(
    'again',
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=['deepcopy', 'pickle'],
)
@pytest.mark.parametrize('weighting', ['Uncertainty', 'DWA', 'PCGrad'])
def test_a_copy_trains_on_alike_and_apart(weighting, again):
    model = build('TALoRA', weighting)
    steps(model, 2)
    other = again(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    steps(other, 2, first=2)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    steps(model, 2, first=2)
    assert all(value.equal(other.state_dict()[key]) for key, value in model.state_dict().items())


def predictions(model: MultiTaskSegmentor) -> dict[str, Tensor]:
    data = model.data_preprocessor(batch(9), True)
    with torch.no_grad():
        samples = model.eval().predict(**data)
    return {
        f'{name} {i}': sample.get(f'pred_{name}').data
        for i, sample in enumerate(samples)
        for name in model.tasks
    }


@EACH
def test_adapter_file(method, tmp_path):
    """Predicts as what was trained, with another weighting, too, and does not hold the
    weighting."""
    model, path = build(method, 'Uncertainty').float(), tmp_path / 'adapter.safetensors'
    steps(model, 2)
    save_adapter(model, path)
    fresh = build(method, 'PCGrad').float()
    expected = predictions(model)
    assert any(not value.equal(expected[key]) for key, value in predictions(fresh).items())
    before = fresh.weighting.draw.clone()
    load_adapter(fresh, path)
    assert fresh.weighting.draw == before
    assert all(value.equal(expected[key]) for key, value in predictions(fresh).items())


@pytest.mark.parametrize(
    'tasks',
    [[TASKS[1], TASKS[0], TASKS[2]], [TASKS[0], dict(TASKS[1], type='InverseDepth'), TASKS[2]]],
    ids=['order', 'kind'],
)
def test_an_adapter_of_other_tasks_is_an_error(tasks, tmp_path):
    """The shapes of all tensors are the same."""
    save_adapter(build().float(), tmp_path / 'adapter.safetensors')
    with pytest.raises(
        ValueError,
        match="another head: the file has tasks=Sem.* 'seg', Depth 'depth', .*, this model tasks=",
    ):
        load_adapter(build(tasks=tasks).float(), tmp_path / 'adapter.safetensors')


@pytest.mark.parametrize('method', ['TALoRA', 'MTLoRA'])
def test_merged_tasks(method):
    """One after the other; each is what it was, and so is the model in the end."""
    model = build(method).eval()
    state, inputs = copy.deepcopy(model.state_dict()), torch.stack(batch()['inputs']).double()
    with torch.no_grad():
        expected = model.outputs(inputs, list(model.tasks))
        for number in (2, 0, 1, 2):
            name = list(model.tasks)[number]
            model.backbone.peft.merge(model.backbone, number)
            torch.testing.assert_close(
                model.outputs(inputs, [name])[name], expected[name], rtol=1e-9, atol=1e-9
            )
            with pytest.raises(ValueError, match=f'the encoder is merged for task {number} alone'):
                model.outputs(inputs, list(model.tasks))
        model.backbone.peft.unmerge(model.backbone)
        assert all(value.equal(state[key]) for key, value in model.state_dict().items())
        again = model.outputs(inputs, list(model.tasks))
    assert all(again[name].equal(expected[name]) for name in model.tasks)
