import json

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file, save_file

from mmsam_peft.adapters import file as adapter_file
from mmsam_peft.adapters.file import digest, read_header, sealed
from mmsam_peft.adapters.header import ADAPTER, FORMAT
from mmsam_peft.adapters.match import base_hash, base_positions, load_adapter, save_adapter
from mmsam_peft.apis.inference import inferencer, init_model, require_adaptable
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import count_parameters
from mmsam_peft.registry import PEFT
from mmsam_peft.safe_load import load_safetensors
from mmsam_peft.version import __version__

META = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
QUERIES = {
    'model.decode_head.num_classes': 3,
    'model.decode_head.num_queries': 4,
    'model.decode_head.loss_decode': dict(type='SetPredictionLoss'),
}
NECK = {'model.backbone.unfreeze': ['neck']}


def method(name: str, **settings) -> dict:
    return {'model.backbone.peft': dict(type=name, _delete_=True, **settings)}


@pytest.fixture
def adapter(build, tmp_path):
    """A trained model and its adapter file."""
    model, path = build(trained=True), tmp_path / 'adapter.safetensors'
    save_adapter(model, path, META)
    return model, path


def edit(path, tensors: dict | None = None, **header) -> None:
    """Rewrites an adapter file with other tensors or header entries."""
    old, metadata = load_safetensors(path)
    tensors = old if tensors is None else tensors
    save_file(
        tensors,
        path,
        {ADAPTER: json.dumps(sealed({**json.loads(metadata[ADAPTER]), **header}, tensors))},
    )


@pytest.mark.parametrize(
    'options',
    [*(method(name) for name in sorted(PEFT.module_dict)), QUERIES, NECK],
    ids=[*sorted(PEFT.module_dict), 'multi-class', 'unfrozen neck'],
)
def test_a_new_model_predicts_the_same(build, run, tmp_path, options):
    trained, path = build(options, trained=True), tmp_path / 'new' / 'adapter.safetensors'
    save_adapter(trained, path)
    fresh = build(options)
    before = run(fresh)
    load_adapter(fresh, path)
    assert run(fresh).equal(run(trained)) and not run(fresh).equal(before)


@pytest.mark.parametrize(
    'load',
    [
        lambda config, path: load_checkpoint(init_model(config), str(path)) and None,
        lambda config, path: init_model(config, path, 'cpu'),
        lambda config, path: inferencer(config, str(path), 'cpu', show_progress=False).model,
    ],
    ids=['load_checkpoint', 'init_model', 'inferencer'],
)
def test_every_way_to_load(adapter, tiny, tmp_path, run, load):
    """A model in a new place; MMEngine's load_checkpoint returns the file's content, not the
    model."""
    trained, path = adapter
    config = tmp_path / 'config.py'
    tiny().dump(config)
    model = load(str(config), path)
    if model is None:
        model = init_model(str(config))
        load_checkpoint(model, str(path))
    assert run(model).equal(run(trained))
    assert tuple(model.dataset_meta['classes']) == META['classes']


def test_holds_what_was_trained_and_the_head_and_little_else(build, tmp_path):
    path = tmp_path / 'adapter.safetensors'
    for options in ({}, NECK, method('ConvLoRA', num_experts=2)):
        model = build(options)
        save_adapter(model, path, META)
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        head = {name for name in model.state_dict() if name.startswith('decode_head.')}
        assert load_file(path).keys() == trained | head


@pytest.mark.parametrize('name', sorted(PEFT.module_dict))
def test_size_with_sams_own_decoder(build, tmp_path, name):
    path = tmp_path / 'adapter.safetensors'
    wide = {
        'model.backbone.arch.out_channels': 256,
        'model.decode_head': dict(type='SAMMaskHead', _delete_=True),
    }
    model = build({'model.checkpoint': None, **wide, **method(name)})
    save_adapter(model, path, META)
    trained = 4 * count_parameters(model)[0]
    assert trained > 4 * 3_500_000
    assert trained <= path.stat().st_size <= trained + 64 * 1024


def test_header(adapter):
    model, path = adapter
    header, tensors = read_header(path), load_file(path)
    assert (header.pop('tensors'), header.pop('sha256')) == (
        sorted(tensors),
        digest(read_header(path), tensors),
    )
    assert header == dict(
        format=FORMAT,
        version=__version__,
        img_size=[64, 64],
        pixels={},
        base=base_hash((model.backbone, model.backbone.peft)),
        positions=base_positions((model.backbone, model.backbone.peft)),
        arch=dict(
            patch_size=16,
            window_size=3,
            mlp_ratio=4,
            out_channels=32,
            embed_dim=32,
            depth=2,
            num_heads=2,
            global_attn_indexes=[1],
        ),
        peft=dict(type='LoRA', rank=3, alpha=32, targets=['qkv'], blocks='all', split_qkv=False),
        head=dict(
            type='SAMMaskHead',
            num_classes=2,
            num_queries=None,
            in_channels=32,
            depth=2,
            num_heads=2,
            mlp_dim=32,
            stride=16,
            fine=False,
            hq=None,
            threshold=0.5,
            peft=None,
        ),
        classes=['background', 'disc'],
        palette=[[0, 0, 0], [0, 255, 0]],
        base_weights=dict(name='base.pth', published=False, licence=None),
        recipe=None,
        needs_config='it was saved without a config, which says how images are read',
    )


def test_written_whole_or_not_at_all(adapter, monkeypatch):
    model, path = adapter
    content = path.read_bytes()

    def fail(tensors, file, metadata):
        file.write_bytes(b'half')
        raise OSError('No space left on device')

    monkeypatch.setattr(adapter_file, 'save_file', fail)
    for target in (path, path.with_name('other.safetensors')):
        with pytest.raises(OSError, match='No space left'):
            save_adapter(model, target, META)
    assert path.read_bytes() == content
    assert sorted(file.name for file in path.parent.iterdir()) == [
        'adapter.safetensors',
        'base.pth',
    ]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'model.checkpoint': None},
            'another base: the file has [0-9a-f]{16}, this model [0-9a-f]{16}. Set '
            'model.checkpoint',
        ),
        (
            {'model.checkpoint': None, 'model.backbone.arch.embed_dim': 64},
            'another arch: the file has embed_dim=32, this model embed_dim=64. Set backbone.arch',
        ),
        (
            {'model.backbone.img_size': 80},
            r'another img_size: the file has \[64, 64\], this model \[80, 80\]',
        ),
        (
            method('ConvLoRA'),
            'another peft: the file has .*type=LoRA, .* this model .*type=ConvLoRA',
        ),
        (
            method('LoRA', rank=5),
            'another peft: the file has rank=3, this model rank=5. Use the config',
        ),
        (
            QUERIES,
            'another head: the file has num_classes=2, num_queries=None, this model num_classes=3, '
            'num_queries=4',
        ),
        (
            NECK,
            r'train different tensors: only the file has \[\], only the model '
            r"\['backbone.neck.0.weight'.*unfreeze",
        ),
    ],
)
def test_made_for_another_model(adapter, build, options, message):
    model = build(options)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for load in (
        lambda: load_adapter(model, adapter[1]),
        lambda: load_checkpoint(model, str(adapter[1])),
    ):
        with pytest.raises(ValueError, match=f'adapter.safetensors .*{message}'):
            load()
    assert all(value.equal(state[key]) for key, value in model.state_dict().items())


def test_method_in_the_decoder_too(build, run, tmp_path):
    """The file holds the decoder's adapters and what is trained beside them; its frozen weights
    belong to the base."""
    path = tmp_path / 'adapter.safetensors'
    source = build({'model.checkpoint': None, **method('Frozen')})
    checkpoint = {'model.checkpoint': str(tmp_path / 'sam.pth')}
    torch.save(source.state_dict(), tmp_path / 'sam.pth')
    options = {**checkpoint, 'model.decode_head.peft': dict(type='LoRA', rank=2)}
    model = build(options)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.1)
    save_adapter(model, path, META)
    names = load_file(path).keys()
    assert any(name.startswith('decode_head.transformer.') for name in names)
    assert all('lora_' in name for name in names if 'transformer' in name)
    again = build(options)
    load_adapter(again, path)
    assert run(again).equal(run(model))
    with pytest.raises(ValueError, match='another head: the file has peft=.* this model peft=None'):
        load_adapter(build(checkpoint), path)
    with torch.no_grad():
        other = build(options)
        other.decode_head.transformer.layers[0].mlp.lin1.weight += 1
    with pytest.raises(ValueError, match='another base'):
        load_adapter(other, path)


def test_trained_with_more_unfrozen(build, tmp_path):
    save_adapter(build(NECK), tmp_path / 'adapter.safetensors')
    with pytest.raises(
        ValueError,
        match=r"only the file has \['backbone.neck.0.weight'.*only the model \[\].*unfreeze",
    ):
        load_adapter(build(), tmp_path / 'adapter.safetensors')


def test_damaged_and_foreign_files(adapter, build):
    _, path = adapter
    model, content = build(), path.read_bytes()
    edit(path, format=FORMAT + 1, version='9.0')
    with pytest.raises(
        ValueError,
        match=rf'format {FORMAT + 1} \(mmsam_peft 9.0\), .* up to {FORMAT}: upgrade mmsam_peft',
    ):
        load_adapter(model, path)
    for length in (5, len(content) // 2):
        path.write_bytes(content[:length])
        for read in (
            lambda: load_adapter(model, path),
            lambda: load_checkpoint(model, str(path)),
            lambda: read_header(path),
        ):
            with pytest.raises(
                ValueError,
                match='adapter.safetensors is not a readable safetensors file .*truncated',
            ):
                read()
    save_file({'weight': torch.zeros(3)}, path)
    for read in (load_adapter, lambda _, path: read_header(path)):
        with pytest.raises(
            ValueError, match='is not an adapter of mmsam_peft: its metadata has no'
        ):
            read(model, path)
    with pytest.raises(ValueError, match='Nothing in the checkpoint matches the model'):
        load_checkpoint(model, str(path))
    with pytest.raises(FileNotFoundError):
        load_adapter(model, path.with_name('absent.safetensors'))


def test_lacking_tensors(adapter, build):
    _, path = adapter
    tensors = load_file(path)
    edit(path, {key: value for key, value in tensors.items() if not key.endswith('lora_B')})
    with pytest.raises(
        ValueError,
        match=r"only the model \['backbone.blocks.0.attn.qkv.lora_B', 'backbone.blocks.1",
    ):
        load_adapter(build(), path)


@pytest.mark.parametrize(
    'options',
    [
        method('LoRA', alpha=32, rank=3),
        {'model.decode_head.num_classes': 2},
        {'model.backbone.arch.mlp_ratio': 4},
    ],
)
def test_naming_a_default_changes_nothing(adapter, build, run, options):
    model = build(options)
    load_adapter(model, adapter[1])
    assert run(model).equal(run(adapter[0]))


def test_adapters_one_after_another(adapter, build, run, tmp_path):
    first, path = adapter
    second, other = build(), tmp_path / 'other.safetensors'
    save_adapter(second, other)
    model = build()
    for source, file in ((first, path), (first, path), (second, other), (first, path)):
        load_adapter(model, file)
        assert run(model).equal(run(source))


def test_base_hash():
    def encoder(seed: int = 0, img_size: int = 64, name: str = 'LoRA') -> SAMViT:
        torch.manual_seed(seed)
        arch = dict(
            embed_dim=32,
            depth=2,
            num_heads=2,
            global_attn_indexes=(1,),
            window_size=3,
            out_channels=16,
        )
        return SAMViT(arch, img_size, peft=dict(type=name))

    base = encoder()
    resized = encoder(img_size=96)
    resized.load_sam(
        {f'image_encoder.{key}': value for key, value in base.state_dict().items()}, 'test'
    )

    def hash_of(model: SAMViT) -> str:
        return base_hash((model, model.peft))

    assert (
        hash_of(base)
        == hash_of(resized)
        == hash_of(encoder(name='ConvLoRA'))
        != hash_of(encoder(seed=1))
    )
    before = hash_of(base)
    base.requires_grad_(False)
    base.pos_embed.data += 1
    base.blocks[0].attn.qkv.lora_A.data += 1
    assert hash_of(base) == before
    base.blocks[1].norm1.bias.data[-1] += 1e-6
    assert hash_of(base) != before


def test_bases_that_differ_in_positions_alone(build, run, tmp_path):
    def made(table: float, seed: int = 0) -> torch.nn.Module:
        model = build(trained=True)
        torch.manual_seed(seed)
        for name, value in model.backbone.named_parameters():
            if 'pos_embed' in name or 'rel_pos' in name:
                value.data.copy_(table * torch.randn_like(value))
        return model

    model, path = made(0.1), tmp_path / 'adapter.safetensors'
    save_adapter(model, path, META)
    same = made(0.1)
    same.backbone.pos_embed.data.copy_(same.backbone.pos_embed.bfloat16())
    load_adapter(same, path)  # rounded on another machine
    for other in (made(0.1, seed=1), made(0.103), made(0)):
        with pytest.raises(ValueError, match='position tables differ. Set model.checkpoint'):
            load_adapter(other, path)
    edit(path, positions=None)  # as earlier versions wrote it
    load_adapter(other, path)
    edit(path, positions=[1, 2])
    with pytest.raises(ValueError, match='malformed adapter header: got positions'):
        load_adapter(same, path)


def test_adapters_belong_to_our_segmentor(adapter, tmp_path):
    _, path = adapter
    other = Config(dict(model=dict(type='EncoderDecoder')))
    with pytest.raises(
        ValueError, match='is an adapter file, but the model of this config is a EncoderDecoder'
    ):
        require_adaptable(other, path)
    save_file({'weight': torch.zeros(3)}, tmp_path / 'plain.safetensors')
    for weights in (None, 'model.pth', tmp_path / 'plain.safetensors'):
        require_adaptable(other, weights)
    require_adaptable(Config(dict(model=dict(type='mmsam_peft.PEFTSegmentor'))), path)


def test_a_broken_model_replaces_no_adapter(adapter):
    model, path = adapter
    before = path.read_bytes()
    next(parameter for parameter in model.parameters() if parameter.requires_grad).data.view(-1)[
        0
    ] = torch.nan
    with pytest.raises(
        ValueError,
        match=r'adapter.safetensors .*NaN or infinite .*lora_A.*: 1 of .* was not written',
    ):
        save_adapter(model, path, META)
    assert path.read_bytes() == before and [
        file.name for file in path.parent.glob('*adapter*')
    ] == [path.name]
