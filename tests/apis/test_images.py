"""Which images are meant: never our own outputs, nothing hidden, linked folders without loops."""

import json
import re

import pytest

from mmsam_peft.apis.images import find_images
from mmsam_peft.apis.outputs import RECORD


@pytest.fixture
def touch(tmp_path):
    def touch(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return [tmp_path / name for name in names]

    return touch


def test_a_file_a_folder_a_pattern(touch, tmp_path):
    files = touch('a.jpg', 'b/c.PNG', 'b/d.tif')
    touch('b/notes.txt')
    assert find_images(str(files[0])) == files[:1]
    assert find_images(str(tmp_path)) == files
    assert find_images(f'{tmp_path}/b/*') == files[1:]
    assert find_images(f'{tmp_path}/**/*.jpg') == files[:1]
    for nothing in (tmp_path / 'absent', f'{tmp_path}/*.gif', f'{tmp_path}/b/*.txt'):
        with pytest.raises(
            FileNotFoundError,
            match=f'No image at {re.escape(str(nothing))}: give a file, a folder or',
        ):
            find_images(str(nothing))


def test_hidden_files(touch, tmp_path):
    files = touch('a.png')
    hidden = touch('._a.png', '.ipynb_checkpoints/a-checkpoint.png', '.thumbs/x/a.png')
    for source in (tmp_path, f'{tmp_path}/*', f'{tmp_path}/**'):
        assert find_images(str(source)) == files
    assert find_images(str(tmp_path / '.thumbs')) == hidden[2:], 'which was asked for'


def test_folders_named_like_patterns(touch, tmp_path, monkeypatch):
    files = touch('d [1]/a.png', 'd [1]/e*/b.png')
    touch('d 1/c.png', 'd [1]/exy/d.jpg')
    assert find_images(str(tmp_path / 'd [1]' / 'e*')) == files[1:]
    assert find_images(f'{tmp_path}/d [1]/*.png') == files[:1]
    monkeypatch.chdir(tmp_path / 'd [1]')
    assert [str(path) for path in find_images('*.png')] == ['a.png']
    assert [str(path) for path in find_images('**/*.jpg')] == ['exy/d.jpg']


@pytest.mark.parametrize('source', ['in', 'in/**/*'])
def test_links(touch, tmp_path, source):
    """Two folders that hold links to each other, and a link to everything."""
    touch('in/a/1.png', 'b/2.png')
    (tmp_path / 'in/b').symlink_to(tmp_path / 'b')
    (tmp_path / 'b/a').symlink_to(tmp_path / 'in/a')
    (tmp_path / 'in/a/b').symlink_to(tmp_path / 'b')
    (tmp_path / 'in/a/self').symlink_to(tmp_path / 'in/a')
    (tmp_path / 'in/all').symlink_to(tmp_path)
    (tmp_path / 'in/nothing.png').symlink_to(tmp_path / 'absent')
    found = {
        path.relative_to(tmp_path / 'in').as_posix() for path in find_images(str(tmp_path / source))
    }
    assert {'a/1.png', 'b/2.png', 'b/a/1.png', 'a/b/2.png', 'nothing.png'} <= found
    assert not [
        name
        for name in found
        if 'self' in name or 'a/b/a' in name or 'b/a/b' in name or 'all/in' in name
    ]


def test_our_outputs(touch, tmp_path):
    """Whatever run wrote them, wherever they are below the source."""
    files = touch('in/a.png', 'in/masks/b.png')
    outputs = touch('in/out/masks/a.png', 'in/out/panels/x/a.png', 'in/overlays/a.png')
    (tmp_path / 'in/out' / RECORD).write_text(
        json.dumps(dict(made_by='', folders=['masks', 'panels'])) + '\n'
    )
    (tmp_path / 'in' / RECORD).write_text(json.dumps(dict(made_by='', folders=['overlays'])) + '\n')
    assert find_images(str(tmp_path / 'in')) == files
    assert find_images(f'{tmp_path}/in/**') == files
    assert find_images(str(tmp_path / 'in/out/masks')) == outputs[:1], 'which were asked for'
