"""The same as test_start.py, from annotations instead of masks."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mmsam_peft.datasets import DatasetError
from mmsam_peft.registry import DATASETS


@pytest.fixture
def coco(data):
    """Rewrites the masks of ``data`` as COCO polygons: a square of each class."""

    def write(path, names=None):
        images = sorted(path.parent.rglob('*.png') if names is None else names)
        content = dict(
            images=[], annotations=[], categories=[dict(id=7, name='car'), dict(id=3, name='sign')]
        )
        content['categories'].append(dict(id=9, name='never'))
        for number, image in enumerate(images):
            content['images'].append(dict(id=number, file_name=image.name, width=96, height=96))
            for category, (x, side) in {7: (10 + number, 40), 3: (70, 15)}.items():
                ring = [x, 20, x + side, 20, x + side, 20 + side, x, 20 + side]
                content['annotations'].append(
                    dict(
                        id=len(content['annotations']),
                        image_id=number,
                        category_id=category,
                        segmentation=[ring],
                        area=side**2,
                        bbox=[x, 20, side, side],
                        iscrowd=0,
                    )
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    shutil.rmtree(data / 'masks')
    return write


def test_coco_in_one_file(begin, checked, coco, data):
    path, said = begin(
        labels=coco(data / 'images/../all.json', sorted((data / 'images').iterdir()))
    )
    dataset = checked(path).train_dataloader.dataset
    assert dataset.type == 'AnnotatedDataset'
    assert dataset.metainfo.classes == ('background', 'car', 'sign')
    assert 'no classes: never' in said and 'Split    8 train, 2 val, 2 test' in said
    assert f'car {1600 / 96**2:.2%}, sign {225 / 96**2:.2%}' in said


def test_one_category_of_many(begin, checked, coco, data):
    labels = coco(data / 'all.json', sorted((data / 'images').iterdir()))
    cfg = checked(begin(labels=labels, classes=('sign',))[0])
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    mask = dataset[0]['data_samples'].gt_sem_seg.data
    assert cfg.val_evaluator.type == 'BinaryMetric' and set(mask.unique().tolist()) <= {0, 1, 255}
    with pytest.raises(DatasetError, match="got the category 'lorry', expected one of"):
        begin(labels=labels, classes=('lorry',))
    with pytest.raises(ValueError, match='--mask-values is for mask files'):
        begin(labels=labels, mask_values='index')


def test_a_file_for_each_part(begin, checked, coco, data):
    """Equal names in two parts, annotations beside the images."""
    for part, number in dict(train=6, valid=3).items():
        for i in range(number):
            (data / part).mkdir(exist_ok=True)
            shutil.copy(data / f'images/{i:02d}.png', data / part / f'{i:02d}.png')
        coco(data / part / '_annotations.coco.json')
    shutil.rmtree(data / 'images')
    path, said = begin()
    cfg = checked(path)
    assert 'Split    6 train, 3 val' in said and 'COCO' in said
    for loader, part in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'valid')):
        paths = [
            info['img_path'] for info in map(DATASETS.build(loader.dataset).get_data_info, range(3))
        ]
        assert all(f'/{part}/' in one for one in paths)


def test_numbers_of_objects_become_one_class(begin, checked, data):
    """Masks of 16 bits that number what they show."""
    for path in sorted((data / 'images').iterdir()):
        mask = np.zeros((96, 96), np.uint16)
        for number in range(9):
            mask[5 + 10 * number : 11 + 10 * number, 20:60] = number + 1
        (data / 'masks' / f'{path.stem}_mask.png').unlink()
        Image.fromarray(mask).save(data / 'masks' / path.name)
    path, said = begin()
    dataset = checked(path).train_dataloader.dataset
    assert dataset.metainfo.classes == ('background', 'object') and 'Objects  9 in an image' in said
