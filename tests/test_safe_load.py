import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from safetensors.torch import save_file

from mmsam_peft import safe_load
from mmsam_peft.adapters.file import as_checkpoint
from mmsam_peft.models import SAMViT
from mmsam_peft.registry import MODELS

ARCH = dict(
    embed_dim=8, depth=1, num_heads=2, global_attn_indexes=(), window_size=2, out_channels=8
)


class Hostile:
    """Writes a file when unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.fixture
def target(tmp_path):
    return tmp_path / 'run'


@pytest.fixture(params=['zip', 'legacy'])
def hostile(request, target, tmp_path):
    path = tmp_path / 'hostile.pth'
    state = SAMViT(ARCH, 32).state_dict()
    torch.save(
        {**state, 'meta': Hostile(target)},
        path,
        _use_new_zipfile_serialization=request.param == 'zip',
    )
    return path


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves ``tmp_path`` on this machine; downloads go to ``tmp_path / 'cache'``. Yields the
    address and the requests."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    httpd = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=tmp_path))
    threading.Thread(target=partial(httpd.serve_forever, 0.01), daemon=True).start()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    yield f'http://127.0.0.1:{httpd.server_port}', asked
    httpd.shutdown()
    httpd.server_close()


def segmentor(path):
    return MODELS.build(
        dict(
            type='mmsam_peft.PEFTSegmentor',
            checkpoint=path,
            backbone=dict(type='mmsam_peft.SAMViT', arch=ARCH, img_size=32),
            decode_head=dict(type='mmsam_peft.SAMMaskHead', in_channels=8, num_heads=2, mlp_dim=8),
            test_cfg=dict(mode='whole'),
        )
    )


def from_mmengine_home(path):
    """As ``open-mmlab://`` opens what lies in MMENGINE_HOME."""
    os.environ['MMENGINE_HOME'] = os.path.dirname(path)
    with open(os.path.join(os.path.dirname(path), 'open_mmlab.json'), 'w') as file:
        file.write(f'{{"hostile": "{os.path.basename(path)}"}}')
    return CheckpointLoader.load_checkpoint('open-mmlab://hostile')


ROADS = {
    'SAMViT': lambda path: SAMViT(ARCH, 32, checkpoint=path).init_weights(),
    'PEFTSegmentor': lambda path: segmentor(path).init_weights(),
    'load_checkpoint': lambda path: load_checkpoint(SAMViT(ARCH, 32), path),
    'CheckpointLoader': lambda path: CheckpointLoader.load_checkpoint(path, map_location='cpu'),
    'open-mmlab': from_mmengine_home,
    'stream': lambda path: mmengine_checkpoint._safe_torch_load(open(path, 'rb')),
}


@pytest.mark.parametrize('road', ROADS)
def test_hostile_files_are_refused(hostile, target, road, monkeypatch):
    monkeypatch.setenv('MMENGINE_HOME', '')
    with pytest.raises(ValueError, match='mkdir.* could run code; it was not loaded.*safetensors'):
        ROADS[road](str(hostile))
    assert not target.exists()


@pytest.mark.parametrize('scheme', ['http', 'mmcls'])
def test_hostile_downloads_are_refused(hostile, target, server, scheme, monkeypatch):
    url = f'{server[0]}/hostile.pth'
    monkeypatch.setattr(mmengine_checkpoint, 'get_mmcls_models', lambda: {'hostile': url})
    with pytest.raises(ValueError, match='could run code'):
        CheckpointLoader.load_checkpoint({'http': url, 'mmcls': 'mmcls://hostile'}[scheme])
    assert not target.exists()


def test_the_file_would_have_run_code(hostile, target):
    torch.load(hostile, weights_only=False)
    assert target.exists()


def test_protocols_that_the_weights_only_reader_lacks(target, tmp_path):
    torch.save(Hostile(target), tmp_path / 'hostile.pth', pickle_protocol=4)
    with (
        pytest.raises(ValueError, match='not a readable checkpoint'),
        pytest.warns(UserWarning, match='protocol 4'),
    ):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'hostile.pth'))
    assert not target.exists()


@pytest.mark.parametrize(
    'name, content',
    [
        ('model.pth', lambda broken: {'good': torch.ones(2), 'head.weight': broken}),
        ('model.pth', lambda broken: dict(state_dict={'head.weight': broken})),
        (
            'model.pth',
            lambda broken: dict(state_dict={}, optimizer=dict(state={0: {'head.weight': broken}})),
        ),
        ('model.safetensors', lambda broken: {'good': torch.ones(2), 'head.weight': broken}),
    ],
)
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_numbers_that_are_none_are_refused(tmp_path, name, content, value):
    content = content(torch.tensor([1.0, value]))
    save_file(content, tmp_path / name) if name.endswith('.safetensors') else torch.save(
        content, tmp_path / name
    )
    with pytest.raises(
        ValueError, match=rf'{name} holds numbers .*head.weight: 1 of 2 numbers.* It was not loaded'
    ):
        CheckpointLoader.load_checkpoint(str(tmp_path / name))


def test_a_log_may_have_any_numbers(tmp_path):
    """A step that was left out has a loss of NaN."""
    torch.save(
        dict(
            state_dict={'a': torch.ones(1)}, message_hub=dict(log_scalars=torch.tensor(torch.nan))
        ),
        tmp_path / 'a.pth',
    )
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))['state_dict']['a'] == 1


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_downloads_once(server, tmp_path, suffix):
    address, asked = server
    state = {'weight': torch.arange(4.0)}
    (tmp_path / 'a').mkdir()
    torch.save(state, tmp_path / f'model{suffix}') if suffix == '.pth' else save_file(
        state, tmp_path / f'model{suffix}'
    )
    for _ in range(2):
        assert torch.equal(
            CheckpointLoader.load_checkpoint(f'{address}/model{suffix}')['weight'], state['weight']
        )
    assert len(asked) == 1
    assert [
        path.name.partition('-')[2] for path in (tmp_path / 'cache/hub/checkpoints').iterdir()
    ] == [f'model{suffix}']


def test_equal_names_of_other_addresses_do_not_meet(server, tmp_path):
    for value, folder in enumerate(('base', 'large')):
        (tmp_path / folder).mkdir()
        save_file({'weight': torch.tensor([value])}, tmp_path / folder / 'model.safetensors')
    for value, folder in enumerate(('base', 'large')):
        assert (
            CheckpointLoader.load_checkpoint(f'{server[0]}/{folder}/model.safetensors')['weight']
            == value
        )


def test_failed_download(server, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r'Cannot download http://127.*404.*model\.checkpoint=PATH'
    ):
        CheckpointLoader.load_checkpoint(f'{server[0]}/absent.pth')


@pytest.mark.parametrize(
    'content', [b'', b'<html>404</html>', b'PK\x03\x04', b'\x80\x02}q\x00X\x05\x00']
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_damaged_files(tmp_path, content, suffix):
    path = tmp_path / f'weights{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='weights.* not a readable'):
        CheckpointLoader.load_checkpoint(str(path))


@pytest.mark.parametrize('name', ['_safe_torch_load', 'load_from_http'])
def test_another_mmengine_is_not_left_unguarded(monkeypatch, name):
    monkeypatch.delattr(mmengine_checkpoint, name)
    with pytest.raises(
        ImportError,
        match=f'version of MMEngine has no {name} .*may open files in a way that runs code',
    ):
        safe_load.register(as_checkpoint)
