"""Overlaps, what does not count, choices of classes, and which image is meant."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from label_scene import (
    CATEGORIES,
    EMPTY,
    HEIGHT,
    NAME,
    POLYGONS,
    WIDTH,
    coco_json,
    coco_polygons,
    coco_runs,
    flat,
    label_studio,
    labelme,
    runs,
    save,
    write_images,
)
from PIL import Image

from mmsam_peft.datasets import AnnotatedDataset, DatasetError, find_annotations
from mmsam_peft.datasets.feature_cache import _identity
from mmsam_peft.datasets.labels.image_list import ImageList, address_as_path

SIZE = HEIGHT, WIDTH


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def filled(*boxes: tuple[int, tuple[int, int, int, int]]) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    for value, (left, top, right, bottom) in boxes:
        mask[top:bottom, left:right] = value
    return mask


LARGE, SMALL, OTHER = (4, 4, 40, 40), (10, 10, 20, 20), (15, 5, 30, 15)


@pytest.fixture
def mask_of(tmp_path):
    """``mask_of(write)``: the mask of the first image, after ``write(root)`` gave the path."""
    write_images(tmp_path / 'images')

    def read(write) -> np.ndarray:
        found = find_annotations(write(tmp_path))
        return found.mask(next(image for image in found.images if Path(image).name == NAME))

    return read


def coco_of(objects: list[tuple], **more):
    """A COCO file of (category_id, segmentation, iscrowd)."""

    def write(root: Path) -> Path:
        stored = coco_json([[flat(area)] for area in POLYGONS.areas])
        stored['annotations'] = [
            dict(id=i, image_id=12, category_id=number, segmentation=segmentation, iscrowd=crowd)
            for i, (number, segmentation, crowd) in enumerate(objects)
        ]
        return save(root / 'images' / 'all.json', stored | more)

    return write


def ring(area: tuple[int, int, int, int]) -> list[int]:
    return sum(box(*area), [])


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_without_an_order_smaller_lies_over_larger(mask_of, order):
    objects = [(7, [ring(LARGE)], 0), (3, [ring(SMALL)], 0), (7, [ring(OTHER)], 0)]
    expected = filled((1, LARGE), (1, OTHER), (2, SMALL))
    assert (mask_of(coco_of([objects[i] for i in order])) == expected).all()


def labelme_of(shapes: list[tuple]):
    def write(root: Path) -> Path:
        path = labelme(root, POLYGONS)
        file = path / 'Straße 1.json'
        stored = json.loads(file.read_text())
        stored['shapes'] = [
            dict(label=label, shape_type=kind, points=points) for label, kind, points in shapes
        ]
        save(file, stored)
        return path

    return write


def test_a_tool_with_an_order_later_lies_over_earlier(mask_of):
    """LabelMe's rectangles, what erases, what does not count, and a circle."""
    shapes = [
        ('car', 'rectangle', [[20, 20], [10, 10]]),
        ('road', 'polygon', box(*LARGE)),
        ('_background_', 'rectangle', [[30, 30], [34, 35]]),
        ('__ignore__', 'rectangle', [[5, 5], [7, 8]]),
    ]
    expected = filled((1, LARGE), (0, (30, 30, 34, 35)), (255, (5, 5, 7, 8)))
    assert (mask_of(labelme_of(shapes)) == expected).all()
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    circle = (x - 60) ** 2 + (y - 20) ** 2 < 10**2  # beyond the edge
    drawn = mask_of(labelme_of([('car', 'circle', [[60, 20], [60, 30]])]))
    assert (drawn == 2 * circle).mean() > 0.998 and drawn[20, 63] == 2


def test_z_order_of_cvat(mask_of):
    def write(root: Path) -> Path:
        shapes = ''.join(
            f'<polygon label="{label}" z_order="{z}" points="'
            f'{";".join(f"{x},{y}" for x, y in box(*area))}"/>'
            for label, z, area in (('car', 2, LARGE), ('road', 1, SMALL), ('road', 2, OTHER))
        )
        ellipse = '<ellipse label="car" cx="50" cy="24" rx="8" ry="4" z_order="0"/><tag label="x"/>'
        image = f'<image name="{NAME}" width="{WIDTH}" height="{HEIGHT}">{shapes}{ellipse}</image>'
        label = '<label><name>road</name></label><label><name>car</name></label>'
        return save(root / 'images' / 'a.xml', f'<annotations>{label}{image}</annotations>')

    drawn = mask_of(write)
    assert (drawn[:, :42] == filled((2, LARGE), (1, OTHER))[:, :42]).all()
    assert abs((drawn[:, 42:] == 2).sum() - np.pi * 8 * 4) < 4


def test_crowds_do_not_count_and_lie_beneath(mask_of):
    crowd = filled((1, OTHER)).ravel('F')
    objects = [
        (3, [ring(SMALL)], 0),
        (7, dict(size=list(SIZE), counts=runs(crowd)), 1),
    ]
    assert (mask_of(coco_of(objects)) == filled((255, OTHER), (2, SMALL))).all()


def test_parts_of_an_object_are_joined_and_holes_stay(mask_of, caplog):
    """A polygon with a bridge to its hole, as tools write holes, has one; rings have none."""
    bridge = [4, 4, 40, 4, 40, 40, 4, 40, 4, 10, 10, 10, 10, 20, 20, 20, 20, 10, 4, 10]
    parts = [ring((45, 5, 50, 10)), ring((45, 20, 50, 25))]
    mask = mask_of(coco_of([(7, [bridge], 0), (3, parts, 0)]))
    expected = filled((1, LARGE), (0, SMALL), (2, (45, 5, 50, 10)), (2, (45, 20, 50, 25)))
    assert (mask == expected).all()


def test_rings_that_may_be_holes_are_said(tmp_path, monkeypatch):
    said = []
    module = 'mmsam_peft.datasets.labels.annotations.print_log'
    monkeypatch.setattr(module, lambda line, *_: said.append(line))
    write_images(tmp_path / 'images')
    found = find_annotations(coco_of([(7, [ring(LARGE), ring(SMALL)], 0)])(tmp_path))
    for _ in range(2):
        mask = found.mask(found.images[0])
    assert (mask == filled((1, LARGE))).all()
    assert len(said) == 1 and 'a ring lies inside another' in said[0] and NAME in said[0]


def test_regions_of_label_studio(mask_of):
    """Rectangles turned around their corner; the annotation that is marked as the truth, and none
    that was cancelled; lists of an older version's result."""

    def region(kind: str, **value) -> dict:
        value[f'{kind}labels'] = ['car']
        return dict(type=f'{kind}labels', original_width=WIDTH, original_height=HEIGHT, value=value)

    def write(root: Path) -> Path:
        path = label_studio(root, POLYGONS)
        tasks = json.loads(path.read_text())
        percent = dict(x=100 * 30 / WIDTH, y=100 * 10 / HEIGHT)
        sides = dict(width=100 * 20 / WIDTH, height=100 * 5 / HEIGHT)
        result = [region('rectangle', **percent, **sides, rotation=90)]
        others = tasks[0]['annotations'] + [dict(was_cancelled=True, result=[dict(value={})])]
        tasks[0]['annotations'] = [*others, dict(ground_truth=True, result=result)]
        return save(path, tasks)

    expected = filled((1, (25, 10, 30, 30)))  # 'car' is the only category that counts
    drawn = mask_of(write)
    assert (drawn == expected).all()


def test_select(tmp_path):
    write_images(tmp_path / 'images')
    found = find_annotations(coco_polygons(tmp_path, POLYGONS))
    for classes, settings, words in (
        (('sky', 'raod'), {}, "category 'raod'.*road, car.*'road'"),
        (('sky', 'road'), dict(categories=dict(cars='car')), 'categories for cars'),
        (('sky', 'road', 'all'), dict(categories=dict(all=['road', 'car'])), 'in two classes'),
        (('sky', 'road'), dict(others='void'), "others='void'"),
    ):
        with pytest.raises(DatasetError, match=words):
            found.select(classes, **settings)
    image = found.images[0]
    truth = found.mask(image)
    below = found.select(('road', 'car')).mask(image)  # the background is a category
    assert (below == np.where(truth == 2, 1, 0)).all()
    assert (found.mask(image) == truth).all()  # as before


def test_many_categories(tmp_path):
    """More than a mask has numbers for can be found, and those that are needed chosen."""
    write_images(tmp_path / 'images')
    categories = [dict(id=number, name=f'c{number}') for number in range(1200)]
    write = coco_of([(1100, [ring(SMALL)], 0)], categories=categories)
    found = find_annotations(write(tmp_path))
    assert len(found.categories) == 1200
    with pytest.raises(ValueError, match='1200 categories, at most 254'):
        found.mask(found.images[0])
    assert (found.select(('x', 'c1100')).mask(found.images[0]) == filled((1, SMALL))).all()
    with pytest.raises(ValueError, match='256 classes, at most 255'):
        found.select([f'c{number}' for number in range(256)])


@pytest.fixture
def image_list(tmp_path):
    for name in ('a.jpg', 'train/a.jpg', 'val/a.jpg', 'val/B.JPG', 'val/c.png', 'x/y/ü d.tif'):
        save(tmp_path / name, b'')
    return lambda name: ImageList(tmp_path).find(name)


@pytest.mark.parametrize(
    'name, expected',
    [
        ('a.jpg', 'a.jpg'),
        ('train/a.jpg', 'train/a.jpg'),
        ('D:\\data\\val\\a.jpg', 'val/a.jpg'),
        ('../val/a', 'val/a.jpg'),
        ('test/a.jpg', 'a.jpg'),
        ('b.jpg', 'val/B.JPG'),
        ('train/c.png', None),
        ('c.jpg', None),
        ('y/u\u0308 d.tif', 'x/y/ü d.tif'),
        ('', None),
    ],
)
def test_which_image_is_meant(image_list, tmp_path, name, expected):
    found = image_list(name)
    assert found == (None if expected is None else str(tmp_path / expected))


def test_equal_names_in_sub_folders(tmp_path):
    for name in ('train/a.jpg', 'val/a.jpg'):
        save(tmp_path / name, b'')
    with pytest.raises(ValueError, match='a.jpg: .*train/a.jpg, .*val/a.jpg'):
        ImageList(tmp_path).find('a.jpg')


@pytest.mark.parametrize(
    'address, path',
    [
        ('https://host/x/a%20b.jpg?v=1', '/x/a b.jpg'),
        ('/data/local-files/?d=x/a%20b.jpg', 'x/a b.jpg'),
        ('s3://bucket/x/a.jpg', '/x/a.jpg'),
        ('a b.jpg', 'a b.jpg'),
    ],
)
def test_addresses(address, path):
    assert address_as_path(address) == path


def test_a_file_that_changes_meanwhile(tmp_path):
    write_images(tmp_path / 'images')
    path = coco_runs(tmp_path, POLYGONS)
    found = find_annotations(path, tmp_path / 'train')
    path.write_bytes(path.read_bytes() + b' ')
    with pytest.raises(ValueError, match='has changed since'):
        found.mask(found.images[0])


@pytest.fixture
def data(tmp_path):
    write_images(tmp_path / 'images')
    coco_polygons(tmp_path, POLYGONS)

    def build(**settings) -> AnnotatedDataset:
        usual = dict(
            annotations='images/all.json',
            data_root=str(tmp_path),
            metainfo=dict(classes=('background', *CATEGORIES)),
        )
        return AnnotatedDataset(**(usual | settings))

    return build


def test_a_list_of_images(data, tmp_path):
    """With suffix or without; the images below a list of their own are a split."""
    save(tmp_path / 'train.txt', f'{NAME}\r\n\r\n{NAME}\r\n')
    save(tmp_path / 'val.txt', 'nothing\nabsent\n')
    train, val = data(ann_file='train.txt'), data(ann_file='val.txt')
    assert [Path(train[i]['img_path']).name for i in range(len(train))] == [NAME]
    assert [Path(val[i]['img_path']).name for i in range(len(val))] == [EMPTY]
    assert not train.problems and 'absent of' in str(val.problems)


def test_settings_are_checked(data):
    for settings, words in (
        (dict(metainfo=None), "classes=None, expected a list.*'background'"),
        (dict(metainfo=dict(classes=['a', 'b'], palette=[[0, 0, 0]])), '1 palette colours for 2'),
        (dict(metainfo=dict(classes=['a', 'raod'])), "category 'raod'"),
        (dict(annotations='nowhere.json'), 'no such file or folder'),
        (dict(data_prefix=dict(img_path='nowhere')), 'nowhere: no such folder'),
    ):
        with pytest.raises(DatasetError, match=words):
            data(**settings)


def test_samples_are_copied_without_the_annotations(data):
    """As test-time augmentation does; and the feature cache knows what a label depends on."""
    dataset, other = data(), data(metainfo=dict(classes=('background', *CATEGORIES[::-1])))
    info = dataset.get_data_info(0)
    assert copy.deepcopy(info)['read_mask'].__self__ is dataset.annotations
    assert _identity(info) == _identity(data().get_data_info(0))
    assert _identity(info) != _identity(other.get_data_info(0))


def test_upper_case_and_pixels_of_a_tiff(tmp_path):
    """Of a folder whose images have no annotation of their own, the others are read."""
    write_images(tmp_path / 'images')
    Image.open(tmp_path / 'images' / NAME).save(tmp_path / 'images' / 'T.TIF')
    write = coco_of([(7, [ring(SMALL)], 0)], images=[dict(id=12, file_name='t.tif')])
    found = find_annotations(write(tmp_path))
    assert (found.mask(found.images[0]) == filled((1, SMALL))).all()


def test_folders_of_yolo(tmp_path):
    """Ultralytics' images/train beside labels/train, Roboflow's train/images beside train/labels:
    all, or a split."""
    for layout, pair in (
        ('a', ('images/{}', 'labels/{}')),
        ('b', ('{}/images', '{}/labels')),
        ('c', ('{}', '{}')),
    ):
        root = tmp_path / layout
        save(root / 'data.yaml', 'names: [road, car]')
        for number, split in enumerate(('train', 'val')):
            images, labels = (root / part.format(split) for part in pair)
            images.mkdir(parents=True)
            Image.new('RGB', (WIDTH, HEIGHT)).save(images / 'same.jpg')
            left = number / 2
            save(labels / 'same.txt', f'1 {left} 0 {left + 0.5} 0 {left + 0.5} 1 {left} 1')
        everything, val = find_annotations(root), find_annotations(labels)
        assert len(everything.images) == 2 and not everything.problems and len(val.images) == 1
        for found in (everything, val):
            image = next(image for image in found.images if 'val' in image)
            assert (found.mask(image) == filled((2, (WIDTH // 2, 0, WIDTH, HEIGHT)))).all()


def test_annotations_of_no_image(tmp_path):
    """Ids as text on one side and numbers on the other must not give empty masks."""
    write_images(tmp_path / 'images')
    images = [dict(id='12', file_name=NAME), dict(id='5', file_name=EMPTY)]
    with pytest.raises(DatasetError, match="of no image in its list, such as 12; .* such as '12'"):
        find_annotations(coco_of([(7, [ring(SMALL)], 0)], images=images)(tmp_path))
    images = [dict(id=12, file_name=NAME)]
    write = coco_of([(7, [ring(SMALL)], 0)], images=images)
    stored = json.loads(write(tmp_path).read_text())
    stored['annotations'].append(dict(stored['annotations'][0], image_id=99))
    found = find_annotations(save(tmp_path / 'images/all.json', stored))
    assert '1 annotations in' in found.notes[0] and 'such as 99' in found.notes[0]
    with pytest.raises(ValueError, match='has no annotation of'):
        found.mask(tmp_path / 'images' / EMPTY)


def test_a_turn_that_sizes_do_not_show_is_said(tmp_path, monkeypatch):
    said = []
    module = 'mmsam_peft.datasets.labels.annotations.print_log'
    monkeypatch.setattr(module, lambda line, *_: said.append(line))
    write_images(tmp_path / 'images')
    found = find_annotations(coco_of([(7, [ring(SMALL)], 0)])(tmp_path))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.open(tmp_path / 'images' / NAME).save(tmp_path / 'images' / NAME, exif=exif)
    assert (found.mask(found.images[0]) == filled((1, SMALL))).all()
    assert len(said) == 1 and 'as they are shown' in said[0]


def test_objects_of_one_class_that_touch_are_told_apart(scope, tmp_path):
    """Crowds are no objects, and classes that are not asked for hide none."""
    write_images(tmp_path / 'images')
    crowd = dict(size=list(SIZE), counts=runs(filled((1, (30, 30, 44, 44))).ravel('F')))
    write = coco_of([(7, [ring(LARGE)], 0), (7, [ring(SMALL)], 0), (7, crowd, 1)])
    dataset = AnnotatedDataset(
        annotations=str(write(tmp_path)),
        metainfo=dict(classes=('background', 'road')),
        pipeline=[dict(type='LoadMask')],
        instances=True,
    )
    index = next(
        i for i in range(len(dataset)) if dataset.get_data_info(i)['img_path'].endswith(NAME)
    )
    found = dataset[index]
    numbers, mask = found['gt_instance_map'], found['gt_seg_map']
    large, small = (filled((1, area)) == 1 for area in (LARGE, SMALL))
    inner, outer = numbers[12, 12], numbers[6, 6]
    assert 0 < inner != outer > 0 and numbers.dtype == np.int32
    assert ((numbers == inner) == small).mean() > 0.99
    assert ((numbers == outer) == (large & ~small)).mean() > 0.99
    assert not numbers[42, 42] and mask[42, 42] == 255
    assert found['seg_fields'] == ['gt_seg_map', 'gt_instance_map']
