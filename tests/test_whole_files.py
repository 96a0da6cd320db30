import errno
import os

import pytest
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.runner import save_checkpoint

from mmsam_peft.whole_files import remove_unfinished, whole_file


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path, put = tmp_path / 'epoch_1.pth', LocalBackend.put
    save_checkpoint(dict(a=1), str(path))
    before = path.read_bytes()

    def full(self, content, path):
        put(self, content[:10], path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(LocalBackend, 'put', full)
    with pytest.raises(
        OSError,
        match=r'epoch_1.pth could not be written: No space left .*The epoch_1.pth .* unchanged',
    ) as error:
        save_checkpoint(dict(a=2), str(path))
    assert error.value.errno == errno.ENOSPC and path.read_bytes() == before
    with pytest.raises(OSError, match='Nothing was left behind'):
        save_checkpoint(dict(a=2), str(tmp_path / 'epoch_2.pth'))
    assert list(tmp_path.iterdir()) == [path]


def test_replaces_only_in_the_end(tmp_path):
    path = tmp_path / 'file'
    get_file_backend(path).put_text('old', path)
    with whole_file(path) as unfinished:
        unfinished.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new' and list(tmp_path.iterdir()) == [path]


def test_removes_only_what_is_unfinished(tmp_path):
    for name in (f'epoch_1.pth.unfinished-{0:032}', 'epoch_1.pth', 'my.unfinished-work'):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {'epoch_1.pth', 'my.unfinished-work'}
