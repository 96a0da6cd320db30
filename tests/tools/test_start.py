"""From a folder to a trained adapter, by the commands that a newcomer gives."""

import re
import shlex

import pytest


def test_help_and_faults_are_quick(call, data, capsys, tmp_path):
    with pytest.raises(SystemExit, match='0'):
        call('start.py', '--help')
    assert 'Nothing is copied, moved or' in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r'start\.py: got .*absent, which is no folder'):
        call('start.py', tmp_path / 'absent')
    with pytest.raises(SystemExit, match='2'):
        call('start.py', data, '--split', '1', '0', '0')


def test_a_file_where_the_folder_belongs(call, data, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit, match=r'(Not a directory|File exists).*file'):
        call('start.py', data, '--out', tmp_path / 'file', '--encoder', 'small', '--no-timing')


@pytest.mark.slow
def test_start_and_train(start, data, tmp_path):
    """The last line of the one is the command of the other, from any folder."""
    said = start('start.py', data, '--out', tmp_path / 'discs', '--encoder', 'small').stdout
    assert (
        'Labels   grey PNG masks of 0 and 255' in said and 'Split    4 train, 2 val, 3 test' in said
    )
    assert re.search(r'Time     about \d+ (seconds|minutes) on this .*GB of memory', said)
    command = shlex.split(said.splitlines()[-1])
    config = tmp_path / 'discs/convlora.py'
    assert command[0] == 'python' and command[2] == str(config)
    work = tmp_path / 'work'
    options = ['--cfg-options', 'max_epochs=2', 'val_dataloader.num_workers=0']
    options += ['val_dataloader.persistent_workers=False']
    log = start('train.py', config, '--work-dir', work, *options).stdout
    assert 'Epoch(val) [2][2/2]' in log or 'Dice' in log
    assert (work / 'adapter_best.safetensors').exists()
    assert sorted(path.name for path in config.parent.iterdir()) == [
        'convlora.py',
        'test.txt',
        'train.txt',
        'val.txt',
    ]
