"""Weights on the hub, against one that runs here."""

import json
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from loopback_hub import COMMIT
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save, save_file

from mmsam_peft import safe_load
from mmsam_peft.hub import fetch, name_of, parsed
from mmsam_peft.models.backbones.quickstart import VARIANTS

WEIGHTS = save({'weight': torch.ones(2)})


def load(address):
    return CheckpointLoader.load_checkpoint(address)


def test_addresses():
    assert parsed('hf://a/b') == ('a/b', None, None)
    assert parsed('hf://a/b/c/d.safetensors@refs/pr/1') == ('a/b', 'c/d.safetensors', 'refs/pr/1')
    assert parsed('hf://a/b@v1') == ('a/b', None, 'v1')
    assert name_of('hf://a/b/c/d.pth@v1') == 'd.pth' and name_of('hf://a/b@v1') == 'b'
    for wrong in ('hf://', 'hf://a', 'hf://a/b@', 'hf://a/b/', 'hf:///b/c.pth'):
        with pytest.raises(ValueError, match='no address of the hub: expected hf://OWNER/NAME'):
            fetch(wrong)
    for wrong in ('a/b/code.py', 'a/b/weights.pkl', 'a/b/../c.pth', 'a/b/c'):
        with pytest.raises(ValueError, match='is no file of weights'):
            fetch(f'hf://{wrong}')
    assert all(parsed(one.address) for one in VARIANTS.values() if 'hf://' in str(one.address))


def test_the_model_of_a_repository(hub, monkeypatch):
    """Its safetensors alone are fetched, once; then no network is needed."""
    hub.repositories['a/b'] = {
        'model.safetensors': WEIGHTS,
        'other.safetensors': b'never asked for',
        'pytorch_model.bin': b'never asked for',
    }
    assert not safe_load.is_at_hand('hf://a/b')
    assert load('hf://a/b')['weight'].tolist() == [1, 1]
    assert not any('other' in one or 'pytorch' in one for one in hub.asked)
    assert sum('GET /a/b/resolve' in one for one in hub.asked) == 1
    assert load('hf://a/b')['weight'].tolist() == [1, 1]
    assert sum('GET /a/b/resolve' in one for one in hub.asked) == 1
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert load('hf://a/b')['weight'].tolist() == [1, 1]
    assert load('hf://a/b/model.safetensors')['weight'].tolist() == [1, 1]
    assert safe_load.is_at_hand('hf://a/b') and not safe_load.is_at_hand('hf://a/c')
    with pytest.raises(FileNotFoundError, match=r'Cannot download hf://a/b/x.pth .*cache does not'):
        load('hf://a/b/x.pth')
    with pytest.raises(FileNotFoundError, match=r'Cannot download hf://a/c .*cache does not'):
        load('hf://a/c')


@pytest.mark.slow  # the client tries again and again
def test_without_a_network(hub, monkeypatch):
    hub.repositories['a/b'] = {'model.safetensors': WEIGHTS}
    load('hf://a/b')
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
    template = 'http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    assert load('hf://a/b')['weight'].tolist() == [1, 1]
    with pytest.raises(FileNotFoundError, match=r'Cannot download hf://a/c .*cache does not'):
        load('hf://a/c')


def test_a_model_in_several_files(hub, monkeypatch):
    parts = {f'model-{i}.safetensors': save({str(i): torch.full((1,), i)}) for i in (1, 2)}
    index = dict(weight_map={str(i): f'model-{i}.safetensors' for i in (1, 2)})
    files = {'model.safetensors.index.json': json.dumps(index).encode(), **parts}
    hub.repositories['a/b'] = {**files, **{f'sub/{name}': one for name, one in files.items()}}
    assert {key: int(one) for key, one in load('hf://a/b').items()} == {'1': 1, '2': 2}
    there = load('hf://a/b/sub/model.safetensors.index.json@v1')
    assert {key: int(one) for key, one in there.items()} == {'1': 1, '2': 2}
    del hub.repositories['a/b']['model-2.safetensors']
    with pytest.raises(FileNotFoundError, match=r'a/b has no file model-2.safetensors'):
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', f'{fetch("hf://a/b")}x')
        load('hf://a/b')


def test_which_file_of_several(hub):
    hub.repositories['a/b'] = {'x.safetensors': WEIGHTS, 'y.safetensors': WEIGHTS}
    with pytest.raises(ValueError, match=r'2 files of weights, x.safetensors, y.safet.*: name '):
        load('hf://a/b@main')
    assert load('hf://a/b/y.safetensors')['weight'].tolist() == [1, 1]
    hub.repositories['a/c'] = {'x.safetensors': WEIGHTS, 'README.md': b''}
    assert load('hf://a/c')['weight'].tolist() == [1, 1]
    assert load(f'hf://a/c@{COMMIT}')['weight'].tolist() == [1, 1]
    hub.repositories['a/d'] = {'pytorch_model.bin': b''}
    with pytest.raises(FileNotFoundError, match=r'no safetensors files.*pytorch_model.bin: name'):
        load('hf://a/d')


def test_what_the_hub_does_not_give(hub, monkeypatch):
    hub.repositories['a/b'] = {'x.safetensors': WEIGHTS}
    with pytest.raises(FileNotFoundError, match='has no a/nothing, or it is private.*hf auth'):
        load('hf://a/nothing')
    for address in ('hf://a/b@v2', 'hf://a/b/x.safetensors@v2'):
        with pytest.raises(FileNotFoundError, match='a/b has no revision v2: give a branch'):
            load(address)
    with pytest.raises(FileNotFoundError, match='a/b has no file y.safetensors: .*/tree/main says'):
        load('hf://a/b/y.safetensors')
    hub.private.add('a/b')
    with pytest.raises(FileNotFoundError, match='or it is private'):
        load('hf://a/b')
    monkeypatch.setenv('HF_TOKEN', 'secret')
    assert load('hf://a/b')['weight'].tolist() == [1, 1]
    hub.gated.add('a/c')
    with pytest.raises(FileNotFoundError, match=r'accept their licence at .*huggingface.co/a/c'):
        load('hf://a/c')


def test_a_file_that_has_changed_in_the_cache(hub):
    hub.repositories['a/b'] = {'model.safetensors': WEIGHTS}
    blob = fetch('hf://a/b').resolve()
    blob.write_bytes(WEIGHTS[:-1] + b'\0')
    with pytest.raises(ValueError, match=f'{blob.name} has not the hash that the hub names'):
        load('hf://a/b')


def test_no_code_runs(hub, tmp_path):
    torch.save({'weight': Path}, tmp_path / 'x.pth')
    hub.repositories['a/b'] = {'x.pth': (tmp_path / 'x.pth').read_bytes()}
    with pytest.raises(ValueError, match='holds more than tensors and plain values'):
        load('hf://a/b/x.pth')


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[share\]'"):
        load('hf://some/model')
    assert not safe_load.is_at_hand('hf://some/model')


def test_a_name_without_its_scheme():
    with pytest.raises(FileNotFoundError, match='is named hf://facebook/dinov2-small'):
        load('facebook/dinov2-small')


def test_a_plain_file_stays(tmp_path):
    save_file({'weight': torch.ones(2)}, tmp_path / 'x.safetensors')
    assert safe_load.local_weights(tmp_path / 'x.safetensors') == tmp_path / 'x.safetensors'
    assert safe_load.local_weights('mmsam_peft://quickstart') == 'mmsam_peft://quickstart'
