"""Headers as a damaged or hostile file may have them."""

import json

import pytest
import torch
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file, save_file

from mmsam_peft.adapters.file import read_header, sealed
from mmsam_peft.adapters.header import ADAPTER, FORMAT, parse_header
from mmsam_peft.adapters.match import load_adapter, save_adapter
from mmsam_peft.safe_load import load_safetensors

META = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
ROADS = {
    'load_adapter': load_adapter,
    'load_checkpoint': lambda model, path: load_checkpoint(model, str(path)),
    'read_header': lambda _, path: read_header(path),
}


@pytest.fixture
def adapter(build, tmp_path):
    """A model, its adapter file and the header in it."""
    model, path = build(trained=True), tmp_path / 'adapter.safetensors'
    save_adapter(model, path, META)
    return model, path, json.loads(load_safetensors(path)[1][ADAPTER])


def deep(levels: int) -> str:
    return '{"a":' * levels + '1' + '}' * levels


FIELDS = [
    'format',
    'arch',
    'img_size',
    'base',
    'peft',
    'head',
    'classes',
    'palette',
    'tensors',
    'sha256',
]
WRONG = [
    *(('format', value) for value in (0, -1, '1', True, None, 1.0, 10**30, [])),
    *(('arch', value) for value in (None, [], {}, 'base')),
    *(('img_size', value) for value in (64, [64], [64, 0], [64, '64'], [64, True], [64, 64.0])),
    *(('base', value) for value in (None, '', 'x' * 64, 'A' * 64, 0)),
    *(
        (key, value)
        for key in ('peft', 'head')
        for value in (
            None,
            'LoRA',
            {},
            {'type': 1},
            {'type': ''},
            {'type': None},
            {'type': 'LoRA', 'peft': 'LoRA'},
            {'type': 'LoRA', 'peft': {'rank': 3}},
        )
    ),
    *(('classes', value) for value in ([], [1, 2], 'disc', {'a': 1})),
    *(
        ('palette', value)
        for value in (
            [[0, 0, 0]],
            [[0, 0], [0, 0]],
            [[0, 0, 0], [0, 256, 0]],
            [[0, 0, 0], [0, -1, 0]],
            [[0, 0, 0], [0, 0.5, 0]],
            [[0, 0, 0], [0, True, 0]],
            'red',
            [0, 0, 0, 0, 0, 0],
        )
    ),
    *(('tensors', value) for value in (None, 61, [], [1])),
    ('sha256', 'short'),
    ('sha256', None),
]


def test_every_malformed_header_is_an_error_that_names_the_file(adapter):
    model, path, header = adapter
    tensors = load_file(path)
    texts = {
        f'no {key}': json.dumps({k: v for k, v in header.items() if k != key}) for key in FIELDS
    }
    texts |= {f'{key}={value!r}': json.dumps({**header, key: value}) for key, value in WRONG}
    texts |= {
        number: json.dumps(header).replace('"format": 2', f'"format": 2, "score": {number}')
        for number in ('NaN', 'Infinity', '1e999', '9' * 5000)
    }
    texts |= {
        'no JSON': '{',
        'a list': '[]',
        'a text': '"x"',
        'empty': '',
        'deep': deep(13),
        'very deep': deep(100_000),
        'huge': json.dumps({**header, 'more': 'x' * 2**20}),
        'deep arch': json.dumps({**header, 'arch': json.loads(deep(13))}),
    }
    malformed = r'adapter\.safetensors has (a malformed adapter header|adapter format)'
    for name, text in texts.items():
        with pytest.raises(ValueError, match=malformed) as error:
            parse_header(text, path)
        assert len(str(error.value)) < 500, name
    for name in ('no peft', 'format=True', 'NaN', 'very deep', 'palette=[[0, 0, 0]]'):
        save_file(tensors, path, {ADAPTER: texts[name]})
        for road in ROADS.values():
            with pytest.raises(
                ValueError, match=r'adapter\.safetensors has a malformed adapter header'
            ):
                road(model, path)


def test_sound_headers_of_every_kind(adapter):
    _, path, header = adapter
    for changes in (
        {},
        {'palette': None},
        {'classes': None, 'palette': None},
        {'version': None},
        {'scores': {'Dice': 0.5}},
        {'head': {**header['head'], 'peft': {'type': 'LoRA'}}},
    ):
        assert parse_header(json.dumps({**header, **changes}), path) == {**header, **changes}
    first = {key: value for key, value in header.items() if key not in ('tensors', 'sha256')}
    assert parse_header(json.dumps({**first, 'format': 1}), path) == {**first, 'format': 1}
    with pytest.raises(ValueError, match=f'format {FORMAT + 1} .* upgrade mmsam_peft'):
        parse_header(json.dumps({'format': FORMAT + 1}), path)


def test_nothing_is_written_that_would_be_refused(build, tmp_path):
    with pytest.raises(ValueError, match='got 1 colours, 2 classes'):
        save_adapter(
            build(), tmp_path / 'adapter.safetensors', dict(classes=('a', 'b'), palette=[[0, 0, 0]])
        )
    assert not (tmp_path / 'adapter.safetensors').exists()


@pytest.mark.parametrize(
    'place',
    [
        lambda header, name: {**header, 'peft': {'type': name}},
        lambda header, name: {**header, 'head': {**header['head'], 'type': name}},
        lambda header, name: {**header, 'head': {**header['head'], 'peft': {'type': name}}},
        lambda header, name: {
            **header,
            'head': {**header['head'], 'norm_cfg': {'type': name}, 'loss_decode': {'type': name}},
        },
    ],
    ids=['peft', 'head', 'head.peft', 'other'],
)
@pytest.mark.parametrize('name', ['stranger.Thing', 'stranger', 'stranger.registry.Thing'])
def test_names_in_a_header_are_looked_up_and_never_imported(
    adapter, tmp_path, monkeypatch, place, name
):
    model, path, header = adapter
    (tmp_path / 'stranger.py').write_text(
        f'open({str(tmp_path / "ran")!r}, "w")\nclass Thing: pass\n'
    )
    monkeypatch.syspath_prepend(tmp_path)  # as the current folder is for python -c and notebooks
    tensors = load_file(path)
    save_file(tensors, path, {ADAPTER: json.dumps(sealed(place(header, name), tensors))})
    for road in (load_adapter, ROADS['load_checkpoint']):
        with pytest.raises(
            ValueError, match=r'adapter\.safetensors was trained on another (peft|head)'
        ):
            road(model, path)
    assert not (tmp_path / 'ran').exists()


def test_flipped_bytes_are_found(adapter):
    """Of the payload, and of names and numbers in the header."""
    model, path, _ = adapter
    content = path.read_bytes()
    places = [
        len(content) - 1,
        len(content) // 2,
        content.index(b'disc'),
        content.index(b'0, 255') + 3,
    ]
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        for road in ROADS.values():
            with pytest.raises(
                ValueError,
                match=r'adapter\.safetensors (is damaged|has a malformed|is not a readable)',
            ):
                road(model, path)
    path.write_bytes(content)
    load_adapter(model, path)


@pytest.mark.parametrize(
    'dtype, right',
    [
        (torch.float16, True),
        (torch.bfloat16, True),
        (torch.float64, True),
        (torch.int32, False),
        (torch.bool, False),
        (torch.complex64, False),
        (torch.float8_e4m3fn, False),
    ],
)
def test_dtypes(adapter, build, dtype, right):
    _, path, header = adapter
    tensors = {key: value.to(dtype) for key, value in load_file(path).items()}
    if dtype == torch.complex64:
        tensors = {
            **load_file(path),
            'decode_head.iou_token.weight': tensors['decode_head.iou_token.weight'],
        }
    save_file(tensors, path, {ADAPTER: json.dumps(sealed(header, tensors))})
    model = build()
    if right:
        load_adapter(model, path)
        assert model.get_parameter('backbone.blocks.0.attn.qkv.lora_B').dtype == torch.float32
    else:
        with pytest.raises(
            ValueError,
            match=rf'does not fit the model: .*{str(dtype)[6:]}, the model has .* float32',
        ):
            load_adapter(model, path)
