import os

import numpy as np
import pytest
from label_scene import CATEGORIES, EMPTY, NAME, POLYGONS, coco_json, coco_polygons, flat, save
from label_scene import write_images as write
from PIL import Image

from mmsam_peft.datasets import DatasetError, find_annotations
from mmsam_peft.datasets.labels.convert import write_masks

CLASSES = ('background', *CATEGORIES)


@pytest.fixture
def annotations(tmp_path):
    write(tmp_path / 'images')
    coco_polygons(tmp_path, POLYGONS)

    def find(classes=CLASSES):
        found = find_annotations(tmp_path / 'images' / 'all.json')
        return found.select(classes, others='background')

    return find


def test_masks_and_classes(annotations, tmp_path):
    found, out = annotations(), tmp_path / 'out'
    assert write_masks(found, CLASSES, out) == []
    for name in (NAME, EMPTY):
        written = np.asarray(Image.open((out / name).with_suffix('.png')))
        assert (written == found.mask(tmp_path / 'images' / name)).all()
    assert (out / 'classes.txt').read_text().splitlines() == list(CLASSES)
    assert len(list(out.iterdir())) == 3


def test_goes_on_where_it_stopped_and_replaces_nothing_silently(annotations, tmp_path):
    out = tmp_path / 'out'
    write_masks(annotations(), CLASSES, out)
    first, second = out / 'Straße 1.png', out / 'nothing.png'
    before = first.stat().st_mtime_ns
    second.unlink()
    write_masks(annotations(), CLASSES, out)
    assert second.exists() and first.stat().st_mtime_ns == before

    other = ('background', 'car', 'road')
    with pytest.raises(DatasetError, match='3 files were made from other .*--overwrite'):
        write_masks(annotations(other), other, out)
    assert first.stat().st_mtime_ns == before
    write_masks(annotations(other), other, out, overwrite=True)
    assert (np.asarray(Image.open(first)) == annotations(other).mask(first_image(tmp_path))).all()

    os.utime(tmp_path / 'images' / 'all.json', ns=(1, 1))  # the annotations were edited
    with pytest.raises(DatasetError, match='2 files were made from other'):
        write_masks(annotations(other), other, out)
    first.write_bytes(b'mine')
    with pytest.raises(DatasetError, match='in the way|made from other'):
        write_masks(annotations(other), other, out)
    assert first.read_bytes() == b'mine'


def first_image(tmp_path) -> str:
    return str(tmp_path / 'images' / NAME)


def test_a_faulty_image_does_not_stop_the_others(annotations, tmp_path):
    stored = coco_json([[flat(area)] for area in POLYGONS.areas])
    stored['annotations'][1]['segmentation'] = [[1, 2, 3, 4]]
    save(tmp_path / 'images' / 'all.json', stored)
    save(tmp_path / 'out' / 'Straße 1.png', 'of other classes')
    (fault,) = write_masks(annotations(), CLASSES, tmp_path / 'out', overwrite=True)
    assert NAME in fault and 'annotation 1: got a polygon of 2 points' in fault
    assert [path.name for path in (tmp_path / 'out').glob('*.png')] == ['nothing.png']


def test_images_that_would_share_a_mask(annotations, tmp_path):
    stored = coco_json([[flat(area)] for area in POLYGONS.areas])
    stored['images'].append(dict(stored['images'][1], id=6, file_name='nothing.jpg'))
    (tmp_path / 'images' / 'nothing.jpg').write_bytes((tmp_path / 'images' / NAME).read_bytes())
    save(tmp_path / 'images' / 'all.json', stored)
    with pytest.raises(DatasetError, match='1 masks would be of several images'):
        write_masks(annotations(), CLASSES, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
