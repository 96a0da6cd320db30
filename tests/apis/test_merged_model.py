"""Plain models made of adapted ones."""

import pytest
import torch
from mmengine.config import ConfigDict
from torch.utils._python_dispatch import TorchDispatchMode

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis.inference import init_model
from mmsam_peft.apis.merging import merged_model, merged_parameters
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.registry import PEFT

MERGING = sorted(name for name in PEFT.module_dict if PEFT.get(name).merges == 'fully')
TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=4),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals'),
]
IMAGES = torch.randint(
    255, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)


class Operations(TorchDispatchMode):
    """Lists what is computed, with the shapes it is computed from."""

    def __enter__(self):
        self.seen = []
        return super().__enter__()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append(
            (str(function), [tuple(one.shape) for one in args if isinstance(one, torch.Tensor)])
        )
        return function(*args, **kwargs or {})


def operations(encoder) -> list:
    with torch.no_grad(), Operations() as run:
        encoder(torch.zeros(1, 3, 64, 64))
    return run.seen


@pytest.fixture
def trained(tiny):
    """``trained(options)``: a model as ``init_model`` makes it, with random values in what it
    trains."""

    def trained(options: dict):
        model = init_model(tiny(options), device='cpu')
        torch.manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * 0.1
        return model

    return trained


@pytest.fixture
def several_tasks(trained):
    def several_tasks(peft: dict):
        return trained(
            {
                'model.type': 'MultiTaskSegmentor',
                'model.tasks': TASKS,
                'model.backbone.peft': peft,
                'model.weighting': dict(type='Uncertainty'),
                'model.decode_head': dict(
                    type='MSAMHead', in_channels=32, num_heads=2, mlp_dim=32, _delete_=True
                ),
            }
        )

    return several_tasks


def single(peft: str) -> dict:
    return {
        'model.backbone.peft': dict(type=peft, _delete_=True),
        'model.backbone.unfreeze': ['neck'],
    }


def predict(model):
    with torch.no_grad():
        return model.test_step(dict(inputs=list(IMAGES), data_samples=None))


@pytest.mark.parametrize('peft', MERGING)
def test_is_a_plain_model_that_predicts_the_same(trained, run, peft):
    model = trained(single(peft))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = merged_model(model)
    expected = run(model)
    torch.testing.assert_close(
        run(plain), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item()
    )
    assert not plain.training and not any(
        parameter.requires_grad for parameter in plain.parameters()
    )
    assert all(value.equal(before[name]) for name, value in model.state_dict().items()), (
        'the model stays as it is'
    )
    assert all(
        parameter.requires_grad for name, parameter in model.named_parameters() if '.neck.' in name
    )
    changed = merged_parameters(model)
    assert bool(changed) == (peft not in ('BitFit', 'Frozen', 'Full', 'NormTuning'))
    for name, parameter in plain.named_parameters():
        assert (parameter.data_ptr() == model.get_parameter(name).data_ptr()) == (
            name not in changed
        ), name
    assert (
        plain.dataset_meta == model.dataset_meta
        and plain.cfg.test_pipeline == model.cfg.test_pipeline
    )


@pytest.mark.parametrize('peft', ['LoRA', 'DoRA', 'SSF', 'TALoRA'])
def test_computes_exactly_what_a_plain_encoder_computes(trained, peft):
    model = trained(single(peft))
    plain = operations(SAMViT(model.backbone.arch, 64, peft=dict(type='Frozen')))
    assert operations(merged_model(model).backbone) == plain
    assert len(operations(model.backbone)) > len(plain) > 50


def test_method_in_the_decoder(trained, run):
    model = trained(
        {
            **single('LoRA'),
            'model.checkpoint': None,
            'model.decode_head.peft': dict(type='LoRA', rank=2),
        }
    )
    plain = merged_model(model)
    torch.testing.assert_close(run(plain), run(model), rtol=1e-4, atol=1e-4)
    assert not [name for name in plain.state_dict() if 'lora' in name]


@pytest.mark.parametrize('peft', ['TALoRA', 'TaskLoRA'])
@pytest.mark.parametrize('task', ['seg', 'depth', 'normals'])
def test_one_of_several_tasks(several_tasks, peft, task):
    model = several_tasks(dict(type=peft, num_tasks=3, _delete_=True))
    plain = merged_model(model, task)
    assert list(plain.tasks) == [task] and not [
        name for name in plain.state_dict() if 'lora' in name
    ]
    for one, expected in zip(predict(plain), predict(model), strict=True):
        ours, its = one.get(f'pred_{task}').data, expected.get(f'pred_{task}').data
        assert {name for name in one.keys() if name.startswith('pred_')} == {f'pred_{task}'}
        if task == 'seg':
            assert (ours == its).float().mean() > 0.999
        else:
            torch.testing.assert_close(ours, its, rtol=1e-3, atol=1e-4)


def test_all_of_several_tasks_where_they_share_an_encoder(several_tasks):
    model = several_tasks(dict(type='LoRA', _delete_=True))
    for one, expected in zip(predict(merged_model(model)), predict(model), strict=True):
        torch.testing.assert_close(
            one.pred_depth.data, expected.pred_depth.data, rtol=1e-3, atol=1e-4
        )
        torch.testing.assert_close(
            one.pred_normals.data, expected.pred_normals.data, rtol=1e-3, atol=1e-4
        )


def test_what_does_not_merge(trained, several_tasks, tiny):
    with pytest.raises(ValueError, match='ConvLoRA merges only in part'):
        merged_model(trained(single('ConvLoRA')))
    for task in (None, 'colour'):
        with pytest.raises(
            ValueError, match='adapted for each task: use one of seg, depth, normals'
        ):
            merged_model(several_tasks(dict(type='TALoRA', num_tasks=3, _delete_=True)), task)


def test_init_model_merges(trained, tiny, run, tmp_path):
    model, path = trained(single('LoRA')), tmp_path / 'adapter.safetensors'
    save_adapter(model, path, model.dataset_meta)
    plain = init_model(tiny(single('LoRA')), path, 'cpu', merge=True)
    assert run(plain).equal(run(merged_model(model))) and plain.backbone.peft.added == frozenset()
    other = ConfigDict(
        type='EncoderDecoder',
        decode_head=dict(type='FCNHead', in_channels=32, channels=8, num_classes=2),
        backbone=dict(type='SAMViT', arch=tiny().model.backbone.arch, img_size=64),
        test_cfg=dict(mode='whole'),
    )
    config = tiny()
    config.model = other
    assert type(init_model(config, device='cpu', merge=True)).__name__ == 'EncoderDecoder', (
        'nothing to merge'
    )
