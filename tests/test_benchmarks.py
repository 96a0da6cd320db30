"""Every benchmark can be started; what it measures is not looked at."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / 'benchmarks'
SCRIPTS = [path for path in sorted(FOLDER.glob('*.py')) if '__main__' in path.read_text()]
assert len(SCRIPTS) >= 12


@pytest.mark.parametrize('path', SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_help(path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))  # as for a script that is started
    monkeypatch.setattr(sys, 'argv', [str(path), '--help'])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name='__main__')
    assert stopped.value.code in (None, 0)
    said = capsys.readouterr().out
    assert 'usage:' in said and '--help' in said
