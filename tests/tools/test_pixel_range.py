import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / 'tools/analysis_tools/pixel_range.py'


def run(monkeypatch, *arguments: str) -> None:
    spec = importlib.util.spec_from_file_location('pixel_range', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *arguments])
    tool.main()


def test_it_prints_the_setting_or_what_is_wrong(tmp_path, monkeypatch, capsys):
    for number in range(3):
        values = np.arange(600, dtype=np.int16).reshape(20, 10, 3) - 100
        values[0] = -9999
        np.save(tmp_path / f'{number}.npy', values)
    run(monkeypatch, str(tmp_path), '--bands', '3', '1', '2', '--nodata', '-9999')
    said = capsys.readouterr().out
    setting = eval(said.split('pixels = ')[1])  # what is put into a config
    assert '3 images of 16-bit whole numbers (int16) in 3 bands' in said
    whole = (np.arange(600).reshape(20, 10, 3) - 100)[1:].reshape(-1, 3)[:, [2, 0, 1]]
    assert setting['low'] == np.floor(np.percentile(whole, 0.5, axis=0)).tolist()
    assert setting['bands'] == [3, 1, 2] and setting['nodata'] == -9999
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, str(tmp_path / 'absent'))
    assert ended.value.code == 1 and 'No image at' in capsys.readouterr().err
    (tmp_path / 'scan.dcm').touch()
    with pytest.raises(SystemExit):
        run(monkeypatch, str(tmp_path / '*.dcm'))
    assert 'DICOM files are not read: export' in capsys.readouterr().err
