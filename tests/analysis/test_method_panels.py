"""Panels: what stands where."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image
from torch import nn

from mmsam_peft.analysis.method_panels import (
    FRAME,
    SIDE,
    Method,
    framed,
    load_method,
    method_panels,
)
from mmsam_peft.analysis.picture_files import save_picture
from mmsam_peft.tasks import build_tasks
from mmsam_peft.visualization.sheet import GAP, LINE

RED, GREEN = (255, 0, 0), (0, 255, 0)
TOP = GAP // 2 + 2 * LINE


class Dataset(list):
    """Samples with their truth: the left half is class 1."""


class Says(nn.Module):
    """Predicts one class everywhere."""

    def __init__(self, number: int, tasks=None) -> None:
        super().__init__()
        self.number = number
        self.dataset_meta = dict(classes=('background', 'a', 'b'), palette=[(0, 0, 0), RED, GREEN])
        if tasks:
            self.tasks = tasks

    def test_step(self, batch):
        sample = batch['data_samples'][0]
        mask = torch.full((1, 60, 80), self.number)
        for name in getattr(self, 'tasks', {}):
            sample.set_field(PixelData(data=mask.float() / 4), f'pred_{name}')
        sample.set_field(PixelData(data=mask), 'pred_sem_seg')
        return [sample]


@pytest.fixture
def dataset(tmp_path):
    Image.fromarray(np.full((60, 80, 3), 100, np.uint8)).save(tmp_path / 'a.png')
    truth = torch.zeros(1, 60, 80, dtype=torch.long)
    truth[:, :, :40] = 1
    sample = SegDataSample(metainfo=dict(img_path=str(tmp_path / 'a.png')))
    sample.gt_sem_seg = PixelData(data=truth)
    sample.gt_near = PixelData(data=truth.float())
    return Dataset([dict(inputs=torch.zeros(3, 8, 8), data_samples=sample)] * 2)


def tile(picture, column, row=0):
    top = TOP + row * (LINE + 180 + GAP)
    left = GAP + column * (SIDE + GAP)
    return picture[top : top + 180, left : left + SIDE]


def test_columns(dataset):
    """Image, methods, truth, a row for each image; a class's colour over grey is half of each."""
    methods = [Method('one', Says(1), dataset, None), Method('two', Says(2), dataset, None)]
    picture = method_panels(methods, [0, 1], {1: [(20, 15, 20, 15)]})
    middle = [tile(picture, column)[100, 60].tolist() for column in range(4)]
    assert middle == [[100, 100, 100], [177, 50, 50], [50, 177, 50], [177, 50, 50]]
    assert tile(picture, 3)[100, 180].tolist() == [100, 100, 100]
    second = [tile(picture, column, 1) for column in range(4)]
    assert all(tuple(one[45, 90]) == FRAME for one in second)
    assert not (tile(picture, 0) == FRAME).all(-1).any()


def test_tasks(dataset):
    """A row for each task, on the truth's scale."""
    tasks = {task.name: task for task in build_tasks([dict(type='Saliency', name='near')])}
    method = Method('one', Says(1, tasks), dataset, None)
    picture = method_panels([method], [0])
    task = tasks['near']
    for column, value in ((1, 0.25), (2, 1.0)):
        drawn = task.draw(np.full((1, 1, 1), value, np.float32))[0, 0]
        assert tile(picture, column)[100, 60].tolist() == drawn.tolist()


def test_boxes_keep_inside():
    picture = framed(np.zeros((60, 80, 3), np.uint8), (60, 80, 3), [(-5, -5, 500, 500)])
    seen = (picture == FRAME).all(-1)
    assert picture.shape == (180, SIDE, 3) and seen[0].all() and seen[:, -1].all()
    assert not seen[2:-2, 2:-2].any()


def test_what_does_not_compare(dataset, tmp_path):
    other = Dataset([dict(dataset[0])])
    sample = SegDataSample(metainfo=dict(img_path=str(tmp_path / 'b.png')))
    other[0] = dict(inputs=torch.zeros(3, 8, 8), data_samples=sample)
    methods = [Method('one', Says(1), dataset, None), Method('two', Says(1), other, None)]
    with pytest.raises(ValueError, match=r'not the same for all methods.*a\.png.*b\.png'):
        method_panels(methods, [0])
    with pytest.raises(ValueError, match='has 2, counted from 0'):
        method_panels(methods[:1], [2])
    with pytest.raises(ValueError, match='expected NAME=CONFIG,WEIGHTS'):
        load_method('LoRA=config.py')


def test_files(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    save_picture(picture, tmp_path / 'deeper/a.png')
    assert (np.asarray(Image.open(tmp_path / 'deeper/a.png')) == picture).all()
    save_picture(picture, tmp_path / 'a.jpg')
    assert Image.open(tmp_path / 'a.jpg').format == 'JPEG'
    with pytest.raises(ValueError, match='ends in .jpg'):
        save_picture(picture, tmp_path / 'a.gif')
