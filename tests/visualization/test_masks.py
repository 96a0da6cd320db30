import numpy as np
import pytest
import torch
from PIL import Image

from mmsam_peft.visualization.masks import write_mask, write_picture


def test_a_picture_that_no_png_can_hold(tmp_path):
    with pytest.raises(ValueError, match='no PNG can hold a picture of 1100000 x 1 pixels: cut it'):
        write_picture(np.zeros((1, 1100000, 3), np.uint8), tmp_path / 'wide.png')
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / 'mask.png'
    write_mask(torch.ones(1, 3, 4), None, path)
    monkeypatch.setattr('os.replace', lambda *paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_mask(torch.zeros(1, 3, 4), None, path)
    assert [file.name for file in tmp_path.iterdir()] == ['mask.png'] and np.asarray(
        Image.open(path)
    ).all()
