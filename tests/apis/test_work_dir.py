import json
import os
import socket
import time

import pytest
from mmengine.config import Config

from mmsam_peft.apis.work_dir import DEAD, LOCK, locked, make_room


def test_a_second_training_is_refused_until_the_first_ends(tmp_path):
    ready, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        with locked(tmp_path):
            os.write(ready[1], b'x')
            os.read(go_on[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    with (
        pytest.raises(
            RuntimeError,
            match=rf'{tmp_path} is in use by a training on \S+ \(process {child}, since '
            r'.*--work-dir',
        ),
        locked(tmp_path),
    ):
        pass
    os.write(go_on[1], b'x')
    os.waitpid(child, 0)
    assert not (tmp_path / LOCK).exists()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize(
    'content',
    ['', 'rubbish', '[1]', json.dumps(dict(host=socket.gethostname(), pid=1, since='then'))],
)
def test_a_lock_without_a_process_is_stale(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    with locked(tmp_path):
        pass


def test_of_another_host_only_the_age_tells(tmp_path):
    (tmp_path / LOCK).write_text(json.dumps(dict(host='elsewhere', pid=1, since='then')))
    with (
        pytest.raises(
            RuntimeError,
            match=r'on elsewhere \(process 1, since then\).*wait \d+ seconds, or remove',
        ),
        locked(tmp_path),
    ):
        pass
    old = time.time() - DEAD - 1
    os.utime(tmp_path / LOCK, (old, old))
    with locked(tmp_path), open(tmp_path / LOCK) as file:
        assert json.load(file)['host'] == socket.gethostname()


def test_an_earlier_trainings_results_make_room(tmp_path, capsys):
    names = [
        'epoch_2.pth',
        'best_Dice_epoch_1.pth',
        'adapter_best.safetensors',
        'last_checkpoint',
        'interrupted.pth',
    ]
    for name in (*names, 'notes.txt', 'base.pth'):
        (tmp_path / name).write_text(name)
    cfg = Config(dict(work_dir=str(tmp_path), model=dict(checkpoint=str(tmp_path / 'base.pth'))))
    with pytest.raises(ValueError, match='load_from=.*epoch_2.pth lies in the work directory'):
        make_room(Config({**cfg.to_dict(), 'load_from': str(tmp_path / 'epoch_2.pth')}))
    make_room(cfg)
    (place,) = (tmp_path / 'previous').iterdir()
    assert {path.name: path.read_text() for path in place.iterdir()} == {
        name: name for name in names
    }
    assert {path.name for path in tmp_path.iterdir()} == {'notes.txt', 'base.pth', 'previous'}
    assert f'5 checkpoints and adapters are now in {place}' in capsys.readouterr().out
    make_room(cfg)
    assert not capsys.readouterr().out
