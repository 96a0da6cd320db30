import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/labels_to_masks.py'


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the tool on a COCO file of a road and a car, of four pixels each."""
    (tmp_path / 'images').mkdir()
    Image.new('RGB', (6, 4)).save(tmp_path / 'images/a b.jpg')
    stored = dict(
        images=[dict(id=1, file_name='a b.jpg', width=6, height=4)],
        categories=[dict(id=5, name='road'), dict(id=2, name='car')],
        annotations=[
            dict(image_id=1, category_id=5, segmentation=[[0, 0, 2, 0, 2, 2, 0, 2]]),
            dict(image_id=1, category_id=2, segmentation=[[4, 2, 6, 2, 6, 4, 4, 4]]),
        ],
    )
    (tmp_path / 'all.json').write_text(json.dumps(stored))

    def main(*options: str) -> tuple[list[str], np.ndarray]:
        arguments = [str(tmp_path / name) for name in ('all.json', 'images', 'out')]
        monkeypatch.setattr(sys, 'argv', ['labels_to_masks.py', *arguments, *options])
        runpy.run_path(str(TOOL), run_name='__main__')
        names = (tmp_path / 'out/classes.txt').read_text().splitlines()
        return names, np.asarray(Image.open(tmp_path / 'out/a b.png'))

    return main


def test_classes(run):
    names, mask = run()
    assert names == ['background', 'road', 'car'] and mask[0, 0] == 1 and mask[3, 5] == 2
    names, mask = run('--classes', 'all=car,road', '--overwrite')
    assert names == ['background', 'all'] and (mask > 0).sum() == mask.sum() == 8
    names, mask = run('--classes', 'car', '--others', 'ignore', '--overwrite')
    assert names == ['background', 'car'] and mask[0, 0] == 255 and mask[3, 5] == 1


def test_what_is_refused(run, capsys):
    run()
    with pytest.raises(SystemExit):
        run('--classes', 'car', '--others', 'background')
    assert '--overwrite' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='1 masks are not there'):
        run('--classes', 'car', '--overwrite')
