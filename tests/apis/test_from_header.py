"""An adapter file suffices: its model is built from its header, on its base, wherever that is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from safetensors.torch import load_file, save_file

from mmsam_peft.adapters.file import sealed
from mmsam_peft.adapters.header import ADAPTER
from mmsam_peft.adapters.match import adapter_header, adapter_state, save_adapter
from mmsam_peft.adapters.recipe import recipe
from mmsam_peft.apis import (
    AdapterBank,
    inference_model,
    inferencer,
    init_model,
    predict,
    read_header,
)
from mmsam_peft.apis.arguments import config_and_weights
from mmsam_peft.apis.configs import read_config
from mmsam_peft.apis.from_header import config_from_header, skeleton
from mmsam_peft.apis.inference import build_to_count, is_adaptable
from mmsam_peft.models.backbones import SAMViT, sam_vit
from mmsam_peft.models.backbones.variants import VARIANTS, Variant
from mmsam_peft.registry import MODELS, PEFT

DATA = Path(__file__).parents[1] / 'data'
META = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
QUERIES = {
    'model.decode_head.num_classes': 3,
    'model.decode_head.num_queries': 4,
    'model.decode_head.loss_decode': dict(type='SetPredictionLoss'),
}
WINDOWS = {'model.test_cfg': dict(mode='slide', crop_size=(64, 64), stride=(32, 32))}
SHORTEST = {'test_pipeline.1.keep_ratio': True, 'test_pipeline.1.interpolation': 'bicubic'}
FRESH = """
import sys
import numpy as np
from mmsam_peft.apis import inference_model, init_model
adapter, image, out = sys.argv[1:]
np.save(out, inference_model(init_model(adapter, device='cpu'), image).seg_logits.data.numpy())
"""


def method(name: str, **settings) -> dict:
    return {'model.backbone.peft': dict(type=name, _delete_=True, **settings)}


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path / 'mmengine'))
    monkeypatch.delenv('MMSAM_PEFT_WEIGHTS', raising=False)


@pytest.fixture
def make(build, tiny, tmp_path):
    """``make(options)``: a trained model, its config, and its adapter file, which is alone in a
    folder."""

    def make(options: dict | None = None, name: str = 'adapter'):
        path = tmp_path / 'shared' / f'{name}.safetensors'
        model, config = build(options, trained=True), tiny(options)
        save_adapter(model, path, META, config)
        return model, config, path

    return make


@pytest.fixture
def beside(tmp_path):
    """The base weights beside the adapter, under another name."""
    (tmp_path / 'shared').mkdir()
    return shutil.copy(tmp_path / 'base.pth', tmp_path / 'shared' / 'renamed.pth')


@pytest.fixture
def image(tmp_path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 150, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    return str(tmp_path / 'image.png')


def logits(model, image) -> torch.Tensor:
    return inference_model(model, image).seg_logits.data


def edit(path, change) -> None:
    """Rewrites an adapter file as its author could: with a right hash of another header."""
    header, tensors = read_header(path), load_file(path)
    change(header)
    save_file(tensors, path, {ADAPTER: json.dumps(sealed(header, tensors))})


@pytest.mark.parametrize(
    'options',
    [*(method(name) for name in sorted(PEFT.module_dict)), QUERIES, WINDOWS, SHORTEST],
    ids=[*sorted(PEFT.module_dict), 'multi-class', 'windows', 'keep_ratio'],
)
def test_predicts_what_the_config_does(make, beside, image, options):
    """Bit for bit, of any method; image sizes, windows and preprocessing are the file's."""
    _, config, path = make(options)
    expected = logits(init_model(config, path, 'cpu'), image)
    assert logits(init_model(path, device='cpu'), image).equal(expected)


@pytest.mark.slow
def test_in_another_folder_of_a_fresh_process(make, beside, image, tmp_path):
    _, config, path = make(WINDOWS)
    (tmp_path / 'elsewhere').mkdir()
    env = {key: value for key, value in os.environ.items() if key != 'TINY_ROOT'}
    command = [sys.executable, '-c', FRESH, str(path), image, str(tmp_path / 'found.npy')]
    done = subprocess.run(
        command, cwd=tmp_path / 'elsewhere', env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = logits(init_model(config, path, 'cpu'), image)
    assert torch.from_numpy(np.load(tmp_path / 'found.npy')).equal(expected)


def test_every_way_to_use_it(make, beside, image, tmp_path, run):
    model, config, path = make()
    expected = run(init_model(config, path, 'cpu'))
    assert run(inferencer(str(path), device='cpu', show_progress=False).model).equal(expected)
    assert run(AdapterBank(adapters=dict(a=path), device='cpu')['a']).equal(expected)
    assert run(init_model(path, device='cpu', merge=True)).allclose(expected, atol=1e-4)
    again = init_model(path, device='cpu')
    assert tuple(again.dataset_meta['classes']) == META['classes']
    save_adapter(again, tmp_path / 'copy.safetensors', META)  # of a copy too
    os.rename(beside, tmp_path / 'base.pth')
    assert run(init_model(tmp_path / 'copy.safetensors', device='cpu')).equal(expected)
    with pytest.raises(ValueError, match='give a config and weights, or an adapter file alone'):
        init_model(path, path)


def test_a_checkpoint_with_a_header_holds_its_base(make, run, tmp_path):
    model, config, _ = make()
    state = adapter_state(model)
    text = json.dumps(sealed(adapter_header(model, META, config), state))
    meta = {'dataset_meta': META, ADAPTER: text}
    path = tmp_path / 'alone' / 'epoch_1.pth'
    path.parent.mkdir()
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    assert run(init_model(path, device='cpu')).equal(run(model))
    with pytest.raises(FileNotFoundError, match='epoch_1.pth needs the base weights .*base.pth'):
        init_model(path, device='cpu', base=True)  # SAM's prompt encoder
    for meta in ({}, {ADAPTER: 'no JSON'}):
        torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
        with pytest.raises(ValueError, match='epoch_1.pth has (no header|a malformed)'):
            init_model(path)


@pytest.mark.parametrize('options', [method('Full'), {**method('Full'), 'model.checkpoint': None}])
def test_what_holds_all_weights_needs_no_base(make, run, tmp_path, options):
    model, _, path = make(options)
    (tmp_path / 'base.pth').unlink()
    assert run(init_model(path, device='cpu')).equal(run(model))


def test_several_tasks(tasks_config, tasks_adapter, image, tmp_path):
    found, expected = (
        init_model(tasks_adapter, device='cpu'),
        init_model(tasks_config, tasks_adapter, 'cpu'),
    )
    for name in ('loss_map', 'depth'):
        pair = [inference_model(one, image).get(f'pred_{name}').data for one in (found, expected)]
        assert pair[0].equal(pair[1]) and pair[0].shape[1:] == (90, 150)
    assert len(list(predict(found, image, tmp_path / 'out'))) == 1
    assert np.load(tmp_path / 'out/depth/image.npy').shape == (1, 90, 150)


CONFIGS = Path(__file__).parents[2] / 'configs'
ZOO = [
    path
    for path in sorted(CONFIGS.glob('*/*.py'))
    if path.parent.name in ('lora', 'talora') or path.stem.startswith('quickstart')
]


@pytest.mark.slow
def test_every_model_of_the_zoo_can_be_built_from_its_header():
    kept = 0
    for path in ZOO:
        config = read_config(path)
        if is_adaptable(config):
            model = build_to_count(config)
            found = skeleton(path, config_from_header(path, recipe(model, config)), None)
            pair = [
                {
                    name: value.shape
                    for name, value in one.state_dict().items()
                    if not name.startswith('weighting.')
                }
                for one in (model, found)
            ]
            assert pair[0] == pair[1], path
            kept += 1
    assert kept >= 20


# Base weights


@pytest.mark.parametrize('place', ['named', 'beside', 'download', 'mmengine', 'checkpoint'])
@pytest.mark.parametrize('name', ['base.pth', 'other.pth', 'other.safetensors'])
def test_the_base_is_found_under_any_name(make, run, tmp_path, monkeypatch, place, name):
    """Among files that are something else."""
    model, _, path = make()
    folders = dict(
        named=tmp_path / 'mine',
        beside=path.parent,
        download=tmp_path / 'torch/hub/checkpoints',
        mmengine=tmp_path / 'mmengine/checkpoints',
        checkpoint=tmp_path / 'anywhere',
    )
    folders[place].mkdir(parents=True, exist_ok=True)
    if place == 'named':
        monkeypatch.setenv('MMSAM_PEFT_WEIGHTS', os.pathsep.join(['/nowhere', str(folders[place])]))
    state = torch.load(tmp_path / 'base.pth')
    file = folders[place] / (
        '0123abcd-base.pth' if (place, name[:4]) == ('download', 'base') else name
    )
    other = {key: value + 1 for key, value in state.items()}
    torch.save(other, file.parent / 'a_base.pth')  # of the same shapes
    (file.parent / 'b.pth').write_bytes(bytes(120_000))
    torch.save([], file.parent / 'c.pth')
    torch.save(state, file) if name.endswith('.pth') else save_file(state, file)
    (tmp_path / 'base.pth').unlink()
    options = dict(checkpoint=str(file)) if place == 'checkpoint' else {}
    assert run(init_model(path, device='cpu', **options)).equal(run(model))
    with pytest.raises(ValueError, match='was trained on another base: the file has'):
        init_model(path, device='cpu', checkpoint=str(file.parent / 'a_base.pth'))


def test_a_file_of_the_name_that_is_another_is_passed_over(make, beside, run, tmp_path):
    model, _, path = make()
    torch.save(SAMViT(model.backbone.arch, 64).state_dict(), path.parent / 'base.pth')
    assert run(init_model(path, device='cpu')).equal(run(model))
    os.unlink(beside)
    with pytest.raises(FileNotFoundError, match=r'Not they: .*shared/base.pth \(.*another base'):
        init_model(path, device='cpu')


def test_what_is_missing_is_said(make, tiny, tmp_path, monkeypatch):
    _, _, path = make()
    with pytest.raises(
        FileNotFoundError,
        match=r'adapter.safetensors needs the base weights that it was trained on, base.pth '
        r'\(hash [0-9a-f]{16}\).*not in .*shared.*hub.*--checkpoint PATH.*MMSAM_PEFT_WEIGHTS',
    ):
        init_model(path)
    with pytest.raises(FileNotFoundError, match='There is no checkpoint .*absent.pth'):
        init_model(path, checkpoint=str(tmp_path / 'absent.pth'))
    with pytest.raises(FileNotFoundError, match='There is no file .*absent.safetensors; training'):
        init_model(tmp_path / 'absent.safetensors')
    _, _, path = make({'model.checkpoint': None}, 'random')
    with pytest.raises(FileNotFoundError, match='frozen weights that were random.*--checkpoint'):
        init_model(path)

    address = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_t.pth'
    monkeypatch.setitem(sam_vit.ARCHS, 'small', dict(tiny().model.backbone.arch))
    variant = Variant('a tiny SAM', dict(type='SAMViT', arch='small'), address)
    monkeypatch.setitem(VARIANTS, 'sam_vit_t', variant)
    config = tiny({'model.backbone.arch': 'small', 'model.checkpoint': 'published'})
    save_adapter(MODELS.build(config.model), path, META, config)
    assert read_header(path)['base_weights'] == dict(
        name='sam_vit_t.pth', published=True, licence='Apache-2.0'
    )

    def offline(*arguments):
        raise OSError('no network')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    with pytest.raises(
        FileNotFoundError,
        match=f'needs the base weights .*sam_vit_t.pth, Apache-2.0.*Cannot download {address}'
        '.*no network.*put it at ',
    ):
        init_model(path, device='cpu')


# Files that do not suffice


def test_files_of_earlier_versions_take_a_config(make, tmp_path):
    with pytest.raises(
        ValueError,
        match='format_1.safetensors does not suffice without a config: an earlier '
        'version of mmsam_peft wrote it. Give the config',
    ):
        init_model(DATA / 'adapter_format_1.safetensors')
    model, config, path = make()
    save_adapter(model, path, META)
    with pytest.raises(ValueError, match='saved without a config, which says how images are read'):
        init_model(path)
    init_model(config, path, 'cpu')


class OwnViT(SAMViT):
    """A user's, registered by the user's code."""


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'model.backbone.type': 'OwnViT'}, "its backbone is 'OwnViT' of .*, which is no backbone"),
        (
            {'test_pipeline.2': dict(type='Rot90')},
            "its pipeline is 'Rot90', which neither|its test pipeline has the step",
        ),
        ({'test_pipeline.0.imdecode_backend': '/home/jane/x'}, 'names a file or an address'),
    ],
)
def test_models_with_parts_of_ones_own_take_a_config(make, run, tmp_path, options, message):
    if 'OwnViT' not in MODELS.module_dict:
        MODELS.register_module(module=OwnViT)
    try:
        model, config, path = make(options)
        with pytest.raises(ValueError, match=f'does not suffice without a config: .*{message}'):
            init_model(path)
        assert run(init_model(config, path, 'cpu')).equal(run(model))
        assert 'jane' not in json.dumps(read_header(path))
    finally:
        MODELS.module_dict.pop('OwnViT')


# Files that somebody crafted


def model_of(header: dict) -> dict:
    return header['recipe']['model']


ATTACKS = {
    'a hook': lambda h: model_of(h).update(type='CheckpointHook'),
    'a data set': lambda h: model_of(h).update(neck=dict(type='FolderDataset')),
    'a program': lambda h: model_of(h)['backbone'].update(type='os.system'),
    'a module': lambda h: model_of(h)['backbone'].update(type='stranger.Thing'),
    'a scope': lambda h: model_of(h)['backbone'].update(_scope_='stranger'),
    'a part in another place': lambda h: model_of(h).update(decode_head=model_of(h)['backbone']),
    'a type below a part': lambda h: model_of(h)['backbone'].update(x=dict(type='Registry')),
    'a norm': lambda h: model_of(h)['decode_head'].update(norm_cfg=dict(type='stranger.Thing')),
    'a file': lambda h: model_of(h)['backbone'].update(checkpoint='/etc/passwd'),
    'an address': lambda h: model_of(h).update(pretrained='http://example.org/x.pth'),
    'a start': lambda h: model_of(h)['decode_head'].update(
        init_cfg=dict(type='Pretrained', checkpoint='x')
    ),
    'a file elsewhere': lambda h: model_of(h)['backbone'].update(attention='../../x'),
    'a peft of no type': lambda h: model_of(h)['backbone'].update(peft=dict(rank=3)),
    'a module through peft': lambda h: model_of(h)['backbone'].update(
        peft=dict(type='HFPeft', config=dict(peft_type='LORA', megatron_core='stranger'))
    ),
    'a step': lambda h: h['recipe']['pipeline'].append(dict(type='LoadAnnotations')),
    'a backend': lambda h: h['recipe']['pipeline'][0].update(backend_args=dict(backend='petrel')),
    'no pipeline': lambda h: h['recipe'].update(pipeline=None),
    'a deep encoder': lambda h: model_of(h)['backbone']['arch'].update(depth=10**6),
    'a wide encoder': lambda h: model_of(h)['backbone']['arch'].update(embed_dim=10**9),
    'a large encoder': lambda h: model_of(h)['backbone']['arch'].update(embed_dim=2**15, depth=100),
    'a large head': lambda h: model_of(h)['decode_head'].update(mlp_dim=2**16),
    'many classes': lambda h: model_of(h)['decode_head'].update(num_classes=10**4000),
    'a large picture': lambda h: h['recipe']['pipeline'][1].update(scale=[2**16, 2**16]),
    'tiny windows': lambda h: model_of(h).update(
        test_cfg=dict(mode='slide', crop_size=[64, 64], stride=[1, 1])
    ),
    'no settings of its': lambda h: model_of(h)['backbone'].update(color='red'),
    'text for a number': lambda h: model_of(h)['backbone'].update(img_size='64'),
    'a list for a model': lambda h: h['recipe'].update(model=[]),
    'a name of a folder': lambda h: h.update(base_weights=dict(name='../../base.pth')),
}


@pytest.mark.parametrize('attack', ATTACKS)
def test_crafted_headers(make, beside, tmp_path, monkeypatch, attack):
    """Each is refused in a sentence that names the file; nothing is imported or read for it."""
    (tmp_path / 'stranger.py').write_text(f'open({str(tmp_path / "ran")!r}, "w")\nThing = dict')
    monkeypatch.syspath_prepend(tmp_path)
    _, _, path = make()
    edit(path, ATTACKS[attack])
    with pytest.raises(ValueError, match=r'adapter\.safetensors') as refused:
        init_model(path, device='cpu')
    assert not (tmp_path / 'ran').exists()
    assert len(str(refused.value)) < 1500


def test_a_model_too_large_takes_no_memory(make, tmp_path):
    """However many tensors a file claims to hold."""
    _, _, path = make()
    header = read_header(path)
    model_of(header)['backbone']['arch'].update(embed_dim=2**15, depth=32)
    config = Config(dict(model={**model_of(header), 'checkpoint': None}))
    with pytest.raises(ValueError, match='asks for a model of [0-9,]{14,} numbers'):
        skeleton(path, config, None)


# Command lines


@pytest.mark.parametrize(
    ('given', 'found'),
    [
        ('a.safetensors images', (None, 'a.safetensors', 'images')),
        ('epoch_1.pth x.png', (None, 'epoch_1.pth', 'x.png')),
        ('c.py a.safetensors images', ('c.py', 'a.safetensors', 'images')),
        ('c.py a.pth', 'IMAGES is missing'),
        ('a.safetensors', 'IMAGES is missing'),
        ('images a.safetensors', 'a.safetensors is the weights: name it before images'),
        ('a.safetensors c.py images', 'c.py is a config: name it before the weights'),
        ('c.py images', 'none of c.py, images is an adapter'),
        ('c.py images a.safetensors', 'images is no adapter'),
        ('images a.safetensors x', 'images is no config'),
        ('a.safetensors base.pth images', 'are both weights: .*--checkpoint'),
        ('a.safetensors 1.png 2.png 3.png', 'got 4 arguments, .*quote a pattern'),
        ('c.py a.safetensors 1.png 2.png', 'got 4|is no adapter|quote a pattern'),
    ],
)
def test_arguments(given, found):
    if isinstance(found, tuple):
        assert config_and_weights(given.split(), 'IMAGES') == found
    else:
        with pytest.raises(ValueError, match=f'{found}.*Give ADAPTER IMAGES, or CONFIG WEIGHTS'):
            config_and_weights(given.split(), 'IMAGES')


def test_images_are_resized_as_in_training(build, tiny):
    """Files say how; those of earlier versions say nothing, and had no antialiasing."""
    header = adapter_header(build(), META, tiny())
    pipeline = header['recipe']['pipeline']
    assert [step['antialias'] for step in pipeline if step['type'] == 'Resize'] == [True]
    assert config_from_header('a.safetensors', header).test_pipeline[1].antialias is True
    pipeline[1].pop('antialias')
    assert config_from_header('a.safetensors', header).test_pipeline[1].antialias is False
    plain = adapter_header(build(), META, tiny({'test_pipeline.1.antialias': False}))
    assert config_from_header('a.safetensors', plain).test_pipeline[1].antialias is False
