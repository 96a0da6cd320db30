"""Whole models of SAM 2 and SAM 3: adapter files, merging, the bank, stored maps, several tasks."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import sam2_names
import sam3_names
import torch
from mmengine.config import ConfigDict
from tiny_encoders import TINY_SAM2, TINY_SAM3
from torch import Tensor

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis import AdapterBank, init_model
from mmsam_peft.apis.merging import merged_sam_state, verify_merge, write_state
from mmsam_peft.models.backbones import Hiera
from mmsam_peft.models.backbones.frozen_prefix import Encoded, FrozenPrefix

META = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=4),
    dict(type='Depth', name='depth'),
]
VISION = f'{sam3_names.VISION}.trunk'


class Kind(NamedTuple):
    published: Callable[[], dict[str, Tensor]]
    backbone: dict
    stride: int
    merged: tuple[str, ...]
    """Where the weights are that a merged adapter changes."""
    qkv: str
    """One of them."""


KINDS = {
    'SAM 2': Kind(
        sam2_names.published,
        dict(type='Hiera', arch=TINY_SAM2),
        16,
        ('image_encoder.', 'sam_mask_decoder.', 'no_mem_embed'),
        'image_encoder.trunk.blocks.6.attn.qkv.weight',
    ),
    'SAM 3': Kind(
        sam3_names.published,
        dict(type='SAM3ViT', arch=TINY_SAM3),
        14,
        (f'{VISION}.', 'tracker.sam_mask_decoder.'),
        f'{VISION}.blocks.1.attn.qkv.weight',
    ),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def options(kind, tmp_path):
    """``options(method)``: the tiny config with a small encoder in its authors' layout."""
    torch.save({'model': kind.published()}, tmp_path / 'sam.pt')

    def options(peft: str, several: bool = False, **settings) -> dict:
        backbone = dict(kind.backbone, img_size=64, peft=dict(type=peft, **settings), _delete_=True)
        head = dict(mlp_dim=64, fine=True, stride=kind.stride)
        found = {'model.checkpoint': str(tmp_path / 'sam.pt'), 'model.backbone': backbone}
        if not several:
            return found | {f'model.decode_head.{name}': value for name, value in head.items()}
        head |= dict(type='MSAMHead', in_channels=32, num_heads=2, _delete_=True)
        several = {'model.type': 'MultiTaskSegmentor', 'model.tasks': TASKS}
        return found | several | {'model.decode_head': head}

    return options


def move(model) -> None:
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.1


def test_an_adapter_file_suffices(options, build, tiny, run, tmp_path, monkeypatch):
    """Beside its base; and the bank holds two on one base. SAM 3 pads 64 pixels to 70, five
    cells."""
    monkeypatch.setenv('MMSAM_PEFT_WEIGHTS', str(tmp_path))
    expected, paths = {}, {}
    for name in ('LoRA', 'ConvLoRA'):
        model, paths[name] = build(options(name)), tmp_path / f'{name}.safetensors'
        move(model)
        save_adapter(model, paths[name], META, tiny(options(name)))
        expected[name] = run(model)
        assert expected[name].shape == (2, 1, 64, 64)
        assert run(init_model(str(paths[name]), device='cpu')).equal(expected[name])
    bank = AdapterBank(tiny(options('LoRA')), dict(a=paths['LoRA']), 'cpu')
    bank.add('b', paths['ConvLoRA'], tiny(options('ConvLoRA')))
    for name, method in (('a', 'LoRA'), ('b', 'ConvLoRA'), ('a', 'LoRA')):
        assert run(bank[name]).equal(expected[method])
    first, second = (bank[name].backbone.blocks[1].mlp.lin1.weight for name in 'ab')
    assert first.data_ptr() == second.data_ptr()


@pytest.mark.parametrize('peft', ['LoRA', 'SSF', 'FacT'])
def test_merged_weights_are_a_file_of_its_authors(kind, options, build, run, tmp_path, peft):
    """Every name of theirs and no other; what texts, prompts and videos need is as it was; loaded
    again, the model predicts the same."""
    model = build(options(peft))
    model.cfg, model.dataset_meta = ConfigDict(model=ConfigDict(type='', **model.made_of)), META
    move(model)
    state, base = merged_sam_state(model), kind.published()
    assert {name: x.shape for name, x in state.items()} == {
        name: x.shape for name, x in base.items()
    }
    changed = {name for name, value in state.items() if not value.equal(base[name])}
    assert kind.qkv in changed and all(name.startswith(kind.merged) for name in changed)
    assert verify_merge(model, state) < 1e-5
    write_state(state, tmp_path / 'merged.safetensors')
    again = build({**options('Frozen'), 'model.checkpoint': str(tmp_path / 'merged.safetensors')})
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(again.backbone(images), model.backbone(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    expected = run(model)
    torch.testing.assert_close(run(again), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


@pytest.mark.parametrize('peft', ['TALoRA', 'TaskLoRA', 'LoRA'])
@pytest.mark.parametrize('blocks', ['all', 'last:1'])
def test_several_tasks(options, build, relative, peft, blocks):
    """Each task's outputs are those of a model that has it alone, also where the tasks have the
    finer maps in common; and so are they from the maps of a frozen beginning."""
    model = build(options(peft, several=True, blocks=blocks)).eval()
    move(model)
    images, names = torch.randn(2, 3, 64, 64), list(model.tasks)
    with torch.no_grad():
        outputs = model.outputs(images, names)
        for name in names:
            alone = model.outputs(images, [name])[name]
            assert relative(alone, outputs[name]) < 1e-4
        assert outputs['seg'].shape[:2] == (2, 4)
        if blocks == 'last:1':
            prefix = FrozenPrefix(model.backbone)
            found = model.outputs(Encoded(prefix, prefix(images)), names)
            for name in names:
                assert relative(found[name], outputs[name]) < 1e-4
    plain = build(options('Frozen', several=True))
    assert not plain.outputs(images, ['seg'])['seg'].allclose(outputs['seg'])


@pytest.mark.parametrize(('queries', 'size'), [(None, (48, 80)), (4, (30, 100))])
def test_any_image_size(kind, options, build, queries, size):
    """The padding, up to whole cells, is cut off: the answer is that of the padded image."""
    head = {
        'model.decode_head.num_queries': queries,
        'model.decode_head.loss_decode': dict(type='SetPredictionLoss'),
    }
    model = build({**options('LoRA'), **(head if queries else {})})
    image, cell = torch.randn(1, 3, *size), 32 if kind.stride == 16 else kind.stride
    padded = torch.nn.functional.pad(image, (0, -size[1] % cell, 0, -size[0] % cell))
    with torch.no_grad():
        found = model.encode_decode(image, [dict(img_shape=size)])
        expected = model.encode_decode(padded, [dict(img_shape=tuple(padded.shape[2:]))])
    assert found.shape[2:] == size
    torch.testing.assert_close(found, expected[..., : size[0], : size[1]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'settings',
    [
        dict(checkpointing=True),
        pytest.param(dict(compile=dict(backend='eager', fullgraph=True)), marks=pytest.mark.slow),
    ],
)
def test_checkpointing_and_compiling_change_nothing(settings):
    images, results = torch.randn(2, 3, 64, 64), []
    for more in ({}, settings):
        torch.manual_seed(0)
        encoder = Hiera({**TINY_SAM2, 'stages': (1, 1)}, peft=dict(type='ConvLoRA'), **more)
        move(encoder.eval())
        maps = encoder(images)
        sum(y.square().mean() for y in maps).backward()
        results.append([*maps, *(p.grad for p in encoder.parameters() if p.grad is not None)])
    assert len(results[0]) > 8
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
