"""One contract for every format of annotations, against a scene that arithmetic draws."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from label_scene import (
    CATEGORIES,
    EMPTY,
    HEIGHT,
    HOLES,
    NAME,
    POLYGONS,
    UNSEEN,
    WIDTH,
    Scene,
    coco_polygons,
    coco_runs,
    coco_text,
    cvat,
    cvat_masks,
    cvat_rle,
    in_colours,
    label_studio,
    label_studio_brush,
    label_studio_min,
    label_studio_pngs,
    labelme,
    labelme_masks,
    masks,
    save,
    voc,
    with_palette,
    write_images,
    yolo,
)
from PIL import Image

from mmsam_peft.datasets import AnnotatedDataset, check_dataset, find_annotations

ALPHABET = tuple(sorted(CATEGORIES))
OBJECT = ('object',)

OUTLINES = dict(
    coco=(coco_polygons, CATEGORIES),
    yolo=(yolo, CATEGORIES),
    labelme=(labelme, CATEGORIES),
    cvat=(cvat, CATEGORIES),
    label_studio=(label_studio, ALPHABET),
)
"""Formats of polygons, and their categories."""


def kind(save_mask: Callable, ending: str = '.png') -> Callable[[Path, Scene], Path]:
    return lambda root, scene: masks(root, scene, save_mask, ending)


def grey(number: int) -> Callable:
    return lambda mask, path: Image.fromarray((mask > 0).astype(np.uint8) * number).save(path)


def transparent(mask: np.ndarray, path: Path) -> None:
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[mask > 0] = (255, 0, 0, 255)
    Image.fromarray(rgba).save(path)


def numbered(mask: np.ndarray, path: Path) -> None:
    """The numbers of objects, six squares of a size, in 16 bits."""
    numbers = np.zeros(mask.shape, np.uint16)
    for number in range(6) if mask.any() else ():
        numbers[5 : 5 + 3 * number, 10 * number : 10 * number + 8] = number + (number > 0) * 300
    Image.fromarray(numbers).save(path)


def files_of_objects(root: Path, scene: Scene) -> Path:
    for name in (NAME, EMPTY):
        folder = root / 'masks' / Path(name).stem
        folder.mkdir(parents=True)
        shown = [one for _, one in scene.visible()] if name == NAME else []
        for number, inside in enumerate([*shown, np.zeros((HEIGHT, WIDTH), bool)]):
            Image.fromarray(inside).save(folder / f'{number}.png')
    return root / 'masks'


def bowl(root: Path, scene: Scene) -> Path:
    """A folder for each image: NAME/images/NAME.png, NAME/masks/*.png."""
    files_of_objects(root, scene)
    for name in (NAME, EMPTY):
        stem = Path(name).stem
        target = root / 'bowl' / stem
        (target / 'images').mkdir(parents=True)
        (root / 'images' / name).rename(target / 'images' / name)
        (root / 'masks' / stem).rename(target / 'masks')
    (target.parent / 'unseen' / 'images').mkdir(parents=True)
    (root / 'images' / UNSEEN).rename(target.parent / 'unseen' / 'images' / UNSEEN)
    return root / 'bowl'


STORED = dict(
    coco_runs=(coco_runs, CATEGORIES),
    coco_text=(coco_text, CATEGORIES),
    labelme_masks=(labelme_masks, CATEGORIES),
    cvat_rle=(cvat_rle, CATEGORIES),
    label_studio_brush=(label_studio_brush, ALPHABET),
    label_studio_min=(label_studio_min, ALPHABET),
    label_studio_pngs=(label_studio_pngs, ALPHABET),
    voc=(voc, CATEGORIES),
    cvat_masks=(cvat_masks, CATEGORIES),
    index=(kind(lambda mask, path: Image.fromarray(mask).save(path), '_mask.png'), ('1', '2')),
    index_16=(
        kind(lambda mask, path: Image.fromarray(mask.astype(np.uint16)).save(path), '.tif'),
        ('1', '2'),
    ),
    palette=(kind(with_palette), ('1', '2')),
    colours=(kind(in_colours), ('#008000', '#800000')),
    grey=(kind(grey(255)), OBJECT),
    one=(kind(grey(1)), OBJECT),
    another=(kind(grey(200)), OBJECT),
    jpeg=(kind(grey(255), '.jpg'), OBJECT),
    transparent=(kind(transparent), OBJECT),
    files_of_objects=(files_of_objects, OBJECT),
    bowl=(bowl, OBJECT),
)
"""Formats of pixels."""
FORMATS = {**OUTLINES, **STORED}


@pytest.fixture
def written(tmp_path):
    """``written('coco')``: the annotations' path, the folder of images (None where the format
    knows it), what the mask must be, and where the polygon's edge makes it uncertain."""

    def write(name: str) -> tuple[Path, Path | None, np.ndarray, np.ndarray]:
        scene = POLYGONS if name in OUTLINES else HOLES
        writer, categories = FORMATS[name]
        write_images(tmp_path / 'images')
        path = writer(tmp_path, scene)
        truth, edge = scene.truth, np.zeros((HEIGHT, WIDTH), bool)
        if name in OUTLINES:
            edge = scene.near_edge()
        if name == 'jpeg':
            y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
            cx, cy, radius = scene.areas[0].hole
            edge = scene.near_edge(2) | (abs(np.hypot(x - cx, y - cy) - radius) < 2)
        if categories == OBJECT:
            truth = (truth > 0).astype(np.uint8)
        elif categories in (ALPHABET, ('#008000', '#800000')):
            truth = np.array([0, 2, 1], np.uint8)[truth]
        told = tmp_path / 'images' if 'masks' in path.name or path.name in ('png', 'json') else None
        told = dict(cvat_rle=tmp_path / 'images', coco_runs=tmp_path / 'train').get(name, told)
        return path, told, truth, edge

    return write


@pytest.mark.parametrize('name', FORMATS)
def test_contract(written, tmp_path, name, scope):
    path, images, truth, edge = written(name)
    found = find_annotations(path, images)
    assert found.categories == FORMATS[name][1]
    by_name = {Path(image).name: image for image in found.images}
    assert set(by_name) == {NAME, EMPTY} and not found.problems
    assert '1 of 3 images' in ' '.join(found.notes) and UNSEEN in ' '.join(found.notes)

    mask = found.mask(by_name[NAME])
    assert mask.dtype == np.uint8 and mask.shape == (HEIGHT, WIDTH)
    assert (mask == truth)[~edge].all() and edge.mean() < (0.4 if name == 'jpeg' else 0.07)
    assert not found.mask(by_name[EMPTY]).any()

    # classes in another order, two categories as one
    turned = found.select(('nothing', *found.categories[::-1]))
    last = len(found.categories) + 1
    assert (turned.mask(by_name[NAME]) == np.where(mask, last - mask, 0)).all()
    merged = found.select(('nothing', 'thing'), dict(thing=found.categories))
    assert (merged.mask(by_name[NAME]) == (mask > 0)).all()

    # the data set reads the same, in place, and the checks find no fault
    dataset = AnnotatedDataset(
        annotations=str(path.relative_to(tmp_path)),
        data_root=str(tmp_path),
        data_prefix=images and dict(img_path=images.name),
        metainfo=dict(classes=('background', *found.categories)),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadMask')],
        serialize_data=False,  # which collects garbage, a second each time
    )
    check_dataset(dataset)
    samples = {Path(one['img_path']).name: one for one in map(dataset.__getitem__, range(2))}
    assert (samples[NAME]['gt_seg_map'] == mask).all() and len(dataset) == 2


@pytest.mark.parametrize('name', OUTLINES)
def test_an_object_of_another_category(written, name):
    """It is an error, not there, or ignored, as is told; where it is not there, what lies beneath
    is seen."""
    path, images, truth, edge = written(name)
    found = find_annotations(path, images)
    image = next(image for image in found.images if Path(image).name == NAME)
    with pytest.raises(ValueError, match="'car', which is in no class"):
        found.select(('background', 'road')).mask(image)
    without = found.select(('background', 'road'), others='background').mask(image)
    road = POLYGONS.areas[0]
    assert (without == road.inside)[~road.near_edge(0.3)].all()
    ignored = found.select(('background', 'road'), others='ignore').mask(image)
    car = truth == found.categories.index('car') + 1
    assert ((ignored == 255) == car)[~edge].all()


def test_kinds_of_masks(tmp_path, written):
    """What the masks are, in words, and what FolderDataset would be told."""
    expected = dict(
        index=('numbers of classes, 0 to 2', 'index'),
        palette=('numbers with a palette, 0 to 2', 'index'),
        colours=('RGB colours', [[0, 0, 0], [0, 128, 0], [128, 0, 0]]),
        grey=('grey, 0 and 255', 'binary255'),
        jpeg=('grey JPEG, from 128 on', 'binary255'),
    )
    for name, (words, values) in expected.items():
        path, images, *_ = written(name)
        found = find_annotations(path, images)
        assert (found.kind.name, found.mask_values) == (words, values)
        for file in path.iterdir():
            file.unlink()


def test_numbers_of_objects_are_merged(tmp_path):
    write_images(tmp_path / 'images')
    path = masks(tmp_path, HOLES, numbered)
    found = find_annotations(path, tmp_path / 'images')
    image = next(image for image in found.images if Path(image).name == NAME)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number in range(1, 6):
        expected[5 : 5 + 3 * number, 10 * number : 10 * number + 8] = 1
    assert found.kind.name == '16-bit numbers of objects up to 305'
    assert (found.mask(image) == expected).all()


def test_voc_has_its_own_categories_and_colours(tmp_path):
    """Without a list of names; as numbers, and as RGB in the colours of VOC's palette."""
    write_images(tmp_path / 'images')
    numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
    numbers[:9], numbers[9:20], numbers[20:25] = 2, 15, 255
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[:9], colours[9:20], colours[20:25] = (0, 128, 0), (192, 128, 128), (224, 224, 192)
    folder = tmp_path / 'SegmentationClass'
    folder.mkdir()
    Image.fromarray(numbers).save(folder / 'Straße 1.png')
    Image.fromarray(colours).save(folder / 'nothing.png')
    found = find_annotations(tmp_path)
    assert found.categories[1] == 'bicycle' and found.categories[14] == 'person'
    for image in found.images:
        assert (found.mask(image) == numbers).all()
    folder.rename(tmp_path / 'SegmentationObject')
    merged = find_annotations(tmp_path)
    assert merged.categories == ('object',)
    for image in merged.images:
        assert (merged.mask(image) == np.where(numbers == 255, 255, numbers > 0)).all()


def test_save_is_what_the_formats_say(tmp_path):
    """A YOLO data.yaml with a list instead of numbers, and classes.txt."""
    write_images(tmp_path / 'images')
    path = yolo(tmp_path, POLYGONS)
    first = find_annotations(path).categories
    save(tmp_path / 'data.yaml', 'names: [a, b]')
    assert (first, find_annotations(tmp_path).categories) == (CATEGORIES, ('a', 'b'))
    (tmp_path / 'data.yaml').unlink()
    save(path / 'classes.txt', 'c\nd\n')
    assert find_annotations(path).categories == ('c', 'd')
