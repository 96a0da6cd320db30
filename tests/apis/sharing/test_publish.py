import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from mmsam_peft.adapters.file import read_header, write_adapter
from mmsam_peft.adapters.match import adapter_header, adapter_state
from mmsam_peft.apis import init_model
from mmsam_peft.apis.configs import read_config
from mmsam_peft.apis.sharing.card import base_on_hub
from mmsam_peft.apis.sharing.publish import publish, require_nothing_private, upload

META = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
ABOUT = dict(
    scores=dict(metrics={'Dice': 87.654, 'IoU': 80.1}, epoch=7, iter=70, of_these_weights=True),
    data=dict(images=dict(train=100, val=20)),
    provenance=dict(packages=dict(mmsam_peft='1', torch='2'), command='train.py configs/a.py'),
)


@pytest.fixture
def trained(build, tiny, tmp_path, monkeypatch):
    """``trained(**about)``: the path of a trained model's adapter in a work directory."""
    model = build(trained=True)
    model.load_base()
    monkeypatch.chdir(tmp_path)

    def write(**about):
        header = adapter_header(model, META, tiny(), **{**ABOUT, **about})
        place = tmp_path / 'work/adapter_best.safetensors'
        write_adapter(adapter_state(model), header, place)
        return place

    return write


def images(folder: Path, number: int = 2) -> list[Path]:
    folder.mkdir(parents=True)
    for i in range(number):
        pixels = np.random.default_rng(i).integers(0, 256, (30, 40 + 20 * i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.png')
    return sorted(folder.iterdir())


def test_a_folder_that_suffices(trained, tmp_path):
    adapter, out, base = trained(), tmp_path / 'out', str(tmp_path / 'base.pth')
    shown = images(tmp_path / 'shown')
    said = publish(
        str(adapter),
        out,
        checkpoint=base,
        images=shown,
        licence='cc-by-4.0',
        data='Discs, drawn',
        repository='lab/discs',
    )
    assert said == []
    assert {path.name for path in out.iterdir()} == {
        'adapter.safetensors',
        'config.py',
        'README.md',
        'example.png',
    }
    assert (out / 'adapter.safetensors').read_bytes() == adapter.read_bytes()
    for path in out.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
        assert str(Path.home()).encode() + b'/' not in path.read_bytes()
    card = ModelCard.load(out / 'README.md')
    assert card.data.to_dict() == dict(
        license='cc-by-4.0',
        library_name='mmsam_peft',
        pipeline_tag='image-segmentation',
        tags=['segment-anything', 'peft', 'mmsegmentation', 'lora'],
        metrics=['dice', 'iou'],
    )
    for words in (
        '# discs',
        "init_model('hf://lab/discs', checkpoint='base.pth')",
        'Discs, drawn. Numbers of images: 100 for train, 20 for val.',
        '| 1 | disc | #00ff00 |',
        'at epoch 7',
        '| Dice | 87.65 |  |',
        'The adapter: cc-by-4.0.',
        read_header(adapter)['sha256'],
        read_header(adapter)['base'],
    ):
        assert words in card.text, words
    with Image.open(out / 'example.png') as picture:
        assert picture.width > 640 and picture.height > 640

    one = init_model(str(out / 'config.py'), str(out / 'adapter.safetensors'), checkpoint=base)
    other = init_model(str(adapter), checkpoint=base)
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    assert '_base_' not in (out / 'config.py').read_text()
    assert one.cfg.test_pipeline == other.cfg.test_pipeline
    assert len(publish(str(adapter), out, checkpoint=base)) == 3  # again; nothing is said of it
    assert not (out / 'example.png').exists() and 'license' not in (out / 'README.md').read_text()
    (out / 'notes.txt').touch()
    with pytest.raises(FileExistsError, match=r'out holds notes.txt'):
        publish(str(adapter), out, checkpoint=base)


def test_the_config_of_the_training(trained, tiny, tmp_path):
    adapter, base = trained(), str(tmp_path / 'base.pth')
    images(tmp_path / 'img_dir/val', 3)
    for path in images(tmp_path / 'ann_dir/val', 3):
        Image.fromarray(np.zeros((30, 40), np.uint8)).save(path)
    tiny().dump(tmp_path / 'config.py')
    out = tmp_path / 'out'
    publish(str(adapter), out, str(tmp_path / 'config.py'), base, validation_images=True)
    text = (out / 'config.py').read_text()
    assert str(tmp_path) not in text and 'work_dir' not in text
    made = read_config(out / 'config.py')
    assert made.train_dataloader.dataset.data_prefix.img_path == 'img_dir/train'
    assert made.optim_wrapper == tiny().optim_wrapper and made.model.checkpoint == 'base.pth'
    init_model(str(out / 'config.py'), str(out / 'adapter.safetensors'), checkpoint=base)
    assert (out / 'example.png').is_file()
    with pytest.raises(ValueError, match='those of a config'):
        publish(str(adapter), out, None, base, validation_images=True)
    other = tiny({'model.backbone.peft.rank': 5})
    other.dump(tmp_path / 'other.py')
    with pytest.raises(ValueError, match='trained on another peft'):
        publish(str(adapter), tmp_path / 'new', str(tmp_path / 'other.py'), base)
    assert not (tmp_path / 'new').exists()


def test_nothing_private(trained, tiny, tmp_path, monkeypatch):
    """A header's place on the disk is cut, the file sealed again; words of a user are refused."""
    base, out = str(tmp_path / 'base.pth'), tmp_path / 'out'
    adapter = trained(provenance=dict(command='train.py /home/mary/secret/config.py', packages={}))
    own = {
        'train_dataloader.dataset.data_root': '/mnt/mary m/leaves',
        'val_dataloader.dataset.data_root': 'file:///home/mary/leaves',
        'test_dataloader.dataset.data_root': 'C:\\Users\\mary',
    }
    tiny(own).dump(tmp_path / 'config.py')
    publish(str(adapter), out, str(tmp_path / 'config.py'), checkpoint=base)
    header, made = read_header(out / 'adapter.safetensors'), read_config(out / 'config.py')
    assert header['provenance']['command'] == 'train.py config.py'
    for name in ('adapter.safetensors', 'config.py'):
        assert b'mary' not in (out / name).read_bytes()
    roots = [made[f'{part}_dataloader'].dataset.data_root for part in ('train', 'val', 'test')]
    assert roots == ['leaves', 'leaves', '...']
    kept, written = load_file(adapter), load_file(out / 'adapter.safetensors')
    assert kept.keys() == written.keys()
    assert all(torch.equal(kept[name], written[name]) for name in kept)

    monkeypatch.setattr('getpass.getuser', lambda: 'mmiller')
    monkeypatch.setattr('socket.gethostname', lambda: 'gpu-17')
    for text in (
        *('see /mnt/scans/a', 'by mmiller', 'on gpu-17.', f'in {tmp_path}', '~/data/x'),
        *('file:///home/a/b', 'of C:\\Users\\a\\b', 'https://me:secret@host.org/x'),
    ):
        with pytest.raises(ValueError, match='What you wrote would tell'):
            publish(str(adapter), tmp_path / 'new', checkpoint=base, data=text)
    assert not (tmp_path / 'new').exists()
    for text in ('Dice / IoU, and/or', 'https://a.org/b/c', 'hf://a/b', 'configs/lora/a.py', '1/2'):
        require_nothing_private('It', text)
    require_nothing_private('It', 'hf://mmiller/discs', 'mmiller')

    def unknown():
        raise KeyError('getpwuid(): uid not found: 1234')

    monkeypatch.setattr('getpass.getuser', unknown)  # as in a container
    with pytest.raises(ValueError, match='would tell'):
        require_nothing_private('It', 'on gpu-17')


def test_an_adapter_without_a_base(build, tiny, tmp_path):
    """Of a training of everything; it is whole."""
    model = build({'model.backbone.peft': dict(type='Full')}, trained=True)
    config = tiny({'model.backbone.peft': dict(type='Full')})
    write_adapter(
        adapter_state(model), adapter_header(model, META, config), tmp_path / 'a.safetensors'
    )
    publish(str(tmp_path / 'a.safetensors'), tmp_path / 'out', repository='a/b')
    card = (tmp_path / 'out/README.md').read_text()
    assert "init_model('hf://a/b')\n" in card and 'It holds all weights' in card
    assert 'None: the file does not say how good it is' in card


def test_several_tasks(tasks_adapter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base, out = str(tmp_path / 'base.pth'), tmp_path / 'out'
    publish(str(tasks_adapter), out, checkpoint=base, images=images(tmp_path / 'shown'))
    card = (out / 'README.md').read_text()
    assert '* loss_map: SemanticSegmentation\n* depth: Depth\n' in card and '## Classes' not in card
    assert Image.open(out / 'example.png').height > 300
    init_model(str(out / 'config.py'), str(out / 'adapter.safetensors'), checkpoint=base)


def test_upload(trained, hub, tmp_path, monkeypatch):
    adapter, base, out = trained(), str(tmp_path / 'base.pth'), tmp_path / 'out'
    publish(str(adapter), out, checkpoint=base, repository='lab/discs')
    (out / 'stray.txt').write_text('left out')
    with pytest.raises(PermissionError, match='log in by `hf auth login`'):
        upload(out, 'lab/discs')
    monkeypatch.setenv('HF_TOKEN', 'secret')
    assert upload(out, 'lab/discs').startswith(f'{hub.url}/lab/discs/commit/')
    assert hub.repositories['lab/discs'].keys() == {'adapter.safetensors', 'config.py', 'README.md'}
    assert hub.private == {'lab/discs'}
    model = init_model('hf://lab/discs', checkpoint=base)
    expected = init_model(str(adapter), checkpoint=base)
    assert all(map(torch.equal, model.state_dict().values(), expected.state_dict().values()))
    upload(out, 'lab/discs')
    hub.private.clear()
    with pytest.raises(ValueError, match='is there already and public: give --public'):
        upload(out, 'lab/discs')
    upload(out, 'lab/discs', public=True)
    upload(out, 'lab/open', public=True)
    assert 'lab/open' not in hub.private
    for name in ('discs', 'a/b/c', 'a b/c'):
        with pytest.raises(ValueError, match='no name of a repository'):
            upload(out, name)


def test_the_tool(trained, hub, tmp_path, monkeypatch, capsys):
    tools = Path(__file__).parents[3] / 'tools'
    adapter, out = str(trained()), str(tmp_path / 'out')
    shown = images(tmp_path / 'shown')[0].parent
    command = [adapter, '--out', out, '--checkpoint', str(tmp_path / 'base.pth')]
    monkeypatch.syspath_prepend(str(tools))
    monkeypatch.setenv('HF_TOKEN', 'secret')

    def run(*options: str) -> str:
        monkeypatch.setattr(sys, 'argv', ['publish.py', *command, *options])
        runpy.run_path(str(tools / 'publish.py'), run_name='__main__')
        return capsys.readouterr().out

    said = run('--images', str(shown), '--license', 'mit', '--upload', 'lab/discs')
    assert f'Uploaded: {hub.url}/lab/discs/commit/' in said and 'No word about the data' in said
    files = hub.repositories['lab/discs']
    assert 'example.png' in files and b'license: mit' in files['README.md']
    for options in (('--public',), ('--val-images',)):
        with pytest.raises(SystemExit):
            run(*options)


def test_where_the_base_is(build):
    model = build()
    for address, expected in {
        'hf://facebook/dinov2-small': 'facebook/dinov2-small',
        'hf://a/b/c.pth@v1': 'a/b',
        'https://huggingface.co/lkeab/hq-sam/resolve/main/sam_hq_vit_b.pth': 'lkeab/hq-sam',
        'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth': (
            'facebook/sam-vit-base'
        ),
        'https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_base_plus.pt': (
            'facebook/sam2.1-hiera-base-plus'
        ),
        'https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_tiny.pt': (
            'facebook/sam2-hiera-tiny'
        ),
        'weights/mine.pth': None,
    }.items():
        model.checkpoint = address
        assert base_on_hub(model) == expected
