"""Items come back as they were, or not at all."""

import os
from pathlib import Path

import pytest

from mmsam_peft.datasets.item_store import ItemStore, bytes_in, seal, unseal


class Store(ItemStore):
    otherwise = 'they are made each time'

    def pack(self, name: str, values: bytes) -> bytes:
        return seal(name.encode(), values)

    def unpack(self, name: str, content: bytes) -> bytes:
        return bytes(unseal(content)[1])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, 1e6)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob('*') if path.is_file()]


def test_reading_writing_and_counting(store):
    assert store.read('ab') is None and len(store) == 0
    store.write('ab', b'values')
    assert store.read('ab') == b'values' and store.read('ac') is None and len(store) == 1
    store.path('ab').write_bytes(store.path('ab').read_bytes()[:-1])
    assert store.read('ab') is None
    store.write('ab', b'values')
    assert store.read('ab') == b'values' and len(store) == 1


def test_any_damage_is_seen():
    content = seal(b'head', b'values')
    assert [bytes(part) for part in unseal(content)] == [b'head', b'values']
    for place in range(len(content)):
        with pytest.raises(ValueError, match='checksum'):
            unseal(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    for length in range(len(content)):
        with pytest.raises(ValueError, match='checksum'):
            unseal(content[:length])


def test_a_folder_in_the_place_of_a_file(store):
    """Other items are stored nevertheless."""
    store.path('ab').mkdir(parents=True)
    assert store.read('ab') is None
    store.write('ab', b'values')
    store.write('cd', b'values')
    assert store.path('ab').is_dir() and store.read('cd')
    assert len(list(store.path('ab').parent.iterdir())) == 1


def test_no_more_than_there_is_room_for(store, tmp_path):
    size = len(store.pack('aa', b'values'))
    store.room.fill_(2.5 * size)
    for name in ('aa', 'bb', 'cc', 'dd'):
        store.write(name, b'values')
    assert len(files(tmp_path)) == 2 and bytes_in(tmp_path) == 2 * size


def test_a_write_that_is_cut_short_leaves_nothing(store, tmp_path, monkeypatch):
    def fail(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(KeyboardInterrupt):
        store.write('ab', b'values')
    assert not files(tmp_path)


def test_a_full_disk_ends_no_training(store, tmp_path):
    (tmp_path / 'ab').write_text('no folder can be made here')
    store.write('ab', b'values')
    store.write('cd', b'values')
    assert store.room == 0 and not (tmp_path / 'cd').exists()


def test_size_of_a_folder_from_which_others_take_files(tmp_path, monkeypatch):
    for name, size in (('a/b', 3), ('c', 5)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    assert bytes_in(tmp_path) == 8 and bytes_in(tmp_path / 'nothing') == 0
    is_file = Path.is_file
    monkeypatch.setattr(
        Path, 'is_file', lambda path: is_file(path) and (path.name != 'c' or path.unlink() is None)
    )
    assert bytes_in(tmp_path) == 3
