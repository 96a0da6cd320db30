"""What is wrong with annotations is said in a sentence; what is wrong with the images of a set, in
one report."""

import json
from pathlib import Path

import numpy as np
import pytest
from label_scene import (
    HEIGHT,
    NAME,
    POLYGONS,
    WIDTH,
    coco_json,
    coco_polygons,
    cvat,
    cvat_masks,
    flat,
    label_studio,
    label_studio_pngs,
    labelme,
    masks,
    png,
    save,
    write_images,
    yolo,
)
from PIL import Image

from mmsam_peft.datasets import (
    AnnotatedDataset,
    DatasetError,
    FolderDataset,
    check_dataset,
    find_annotations,
)

EXIF_ORIENTATION = 0x0112


def coco_file(root: Path, **changes) -> Path:
    stored = coco_json([[flat(area)] for area in POLYGONS.areas])
    return save(root / 'images' / 'all.json', stored | changes)


def edited(path: Path, before: str, after: str, inside: str = '') -> Path:
    file = path / inside if inside else path
    text = file.read_text()
    assert before in text
    save(file, text.replace(before, after))
    return path


NOTHING = {
    'nowhere': (lambda root: root / 'nowhere', 'no such file or folder'),
    'an empty folder': (lambda root: save(root / 'new/.x', '').parent, 'got an empty folder'),
    'text': (lambda root: save(root / 'a/b.txt', 'hello').parent, r'got files \(1 x .txt\)'),
    'a word file': (lambda root: save(root / 'b.docx', 'PK..'), "a file that begins with 'PK"),
    'JSON of another kind': (lambda root: save(root / 'b.json', {'a': 1}), "begins with '{"),
    'half a COCO file': (
        lambda root: save(coco_file(root), coco_file(root).read_bytes()[:-200]),
        'got no complete JSON',
    ),
    'COCO without names of images': (
        lambda root: coco_file(root, images=[dict(id=12)]),
        "no 'file_name' in an entry",
    ),
    'COCO boxes': (
        lambda root: coco_file(root, annotations=[dict(image_id=12, bbox=[1, 2, 3, 4])]),
        'COCO boxes or keypoints',
    ),
    'panoptic COCO': (
        lambda root: coco_file(root, annotations=[dict(image_id=12, segments_info=[])]),
        'got a panoptic JSON',
    ),
    'COCO of other images': (
        lambda root: edited(edited(coco_polygons(root, POLYGONS), NAME, 'x.jpg'), 'nothing', 'y'),
        'none of the annotated images is found',
    ),
    'two COCO files': (
        lambda root: save(root / 'images/b.json', coco_file(root).read_bytes()).parent,
        r'several formats or files: coco \(all.json\); coco \(b.json\)',
    ),
    'COCO and LabelMe': (
        lambda root: coco_file(labelme(root, POLYGONS).parent).parent,
        'several formats or files: labelme; coco',
    ),
    'YOLO boxes': (
        lambda root: (
            save(
                yolo(root, POLYGONS) / 'Straße 1.txt', '0 0.5 0.5 0.1 0.1\n1 0.2 0.5 0.1 0.1'
            ).parent
        ),
        'got YOLO boxes',
    ),
    'YOLO without names': (
        lambda root: (yolo(root, POLYGONS), (root / 'data.yaml').unlink())[0],
        'without the names of their classes',
    ),
    'YOLO key points': (
        lambda root: (
            yolo(root, POLYGONS),
            save(root / 'data.yaml', 'kpt_shape: [1, 2]\nnames: [a]'),
        )[0],
        'YOLO key points',
    ),
    'VIA': (lambda root: save(root / 'v.json', {'_via_settings': {}}), 'VGG Image Annotator'),
    'VOC boxes': (
        lambda root: save(root / 'x/a.xml', '<annotation><object/></annotation>').parent,
        'Pascal VOC boxes',
    ),
    'an archive': (lambda root: save(root / 'a.zip', 'PK'), 'got an archive: unpack it'),
    'CVAT video': (
        lambda root: save(root / 'images/a.xml', '<annotations><track/></annotations>'),
        'tracks',
    ),
    'half an XML': (
        lambda root: save(cvat(root, POLYGONS), cvat(root, POLYGONS).read_bytes()[:-30]),
        'got no complete XML',
    ),
    'an XML bomb': (
        lambda root: save(
            root / 'images/a.xml', '<!DOCTYPE x [<!ENTITY a "b">]><annotations>&a;</annotations>'
        ),
        'a document type',
    ),
    'PNGs of Label Studio alone': (
        lambda root: (
            label_studio_pngs(root, POLYGONS),
            (root / 'png/export.json').unlink(),
        )[0],
        'the PNGs name tasks, and the JSON says which images',
    ),
    'a bad label map': (
        lambda root: edited(cvat_masks(root, POLYGONS), '128,0,0', 'red', 'labelmap.txt'),
        'labelmap.txt: got road:red',
    ),
    'masks without images': (
        lambda root: masks(root, POLYGONS, lambda mask, path: Image.fromarray(mask).save(path)),
        'expected the folder of their images',
    ),
}


@pytest.mark.parametrize('name', NOTHING)
def test_what_is_no_annotation(tmp_path, name):
    write, words = NOTHING[name]
    write_images(tmp_path / 'images')
    with pytest.raises(DatasetError, match=words):
        find_annotations(write(tmp_path))


MASKS = {
    'photos': (lambda mask, path: Image.fromarray(noise()).save(path), 'more than 254 colours'),
    'coloured JPEGs': (
        lambda mask, path: Image.fromarray(np.stack([mask * 100, mask, mask], -1)).save(
            path.with_suffix('.jpg')
        ),
        'coloured JPEGs',
    ),
    'fractions': (
        lambda mask, path: Image.fromarray(mask / np.float32(3)).save(path.with_suffix('.tif')),
        'got fractions',
    ),
    'damaged': (lambda mask, path: path.write_bytes(png(mask)[:40]), 'mask .*'),
}


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize('name', MASKS)
def test_what_are_no_masks(tmp_path, name):
    save_mask, words = MASKS[name]
    write_images(tmp_path / 'images')
    with pytest.raises(DatasetError, match=words):
        find_annotations(masks(tmp_path, POLYGONS, save_mask), tmp_path / 'images')


FAULTS = {
    'a box of CVAT': (
        lambda root: edited(cvat(root, POLYGONS), '<polygon', '<box label="car"/><polygon'),
        'box 1: got a box, which has no outline',
    ),
    'a mask of CVAT that is too short': (
        lambda root: edited(
            cvat(root, POLYGONS),
            '</polygon></image>',
            '</polygon><mask label="car" rle="1,2" left="0" top="0" width="2" height="2"/></image>',
        ),
        'mask 4: got run lengths that do not fill 2 x 2',
    ),
    'a box of YOLO among polygons': (
        lambda root: edited(yolo(root, POLYGONS), '0 0', '0 0.5 0.5 0.1 0.1\n0 0', 'Straße 1.txt'),
        'line 1: got a box',
    ),
    'pixels in YOLO': (
        lambda root: edited(yolo(root, POLYGONS), '0 0', '0 300 0', 'Straße 1.txt'),
        'line 1: got 9 coordinates|line 1: got the coordinate 300',
    ),
    'a number without a name in YOLO': (
        lambda root: edited(yolo(root, POLYGONS), '0 0', '7 0', 'Straße 1.txt'),
        "line 1: got the category 'number 7', which the list of them lacks",
    ),
    'a line of LabelMe': (
        lambda root: edited(labelme(root, POLYGONS), '"polygon"', '"line"', 'Straße 1.json'),
        'shape 1: got a line, which has no area',
    ),
    'a file of LabelMe for another image': (
        lambda root: edited(labelme(root, POLYGONS), NAME, 'x.jpg', 'Straße 1.json'),
        'got imagePath=x.jpg, expected Straße 1.JPG',
    ),
    'two annotations in Label Studio': (
        lambda root: edited(
            label_studio(root, POLYGONS),
            '"annotations": [\n   {\n    "id": 4',
            '"annotations": [{"result": []},\n   {\n    "id": 4',
        ),
        'region 1: .*2 annotations of one task|2 annotations of one task',
    ),
    'an image turned in Label Studio': (
        lambda root: edited(
            label_studio(root, POLYGONS), '"image_rotation": 0', '"image_rotation": 90'
        ),
        'turned by 90 degrees in Label Studio',
    ),
    'a colour that the label map lacks': (
        lambda root: edited(cvat_masks(root, POLYGONS), '128,0,0', '128,0,1', 'labelmap.txt'),
        r'colours \(128, 0, 0\), which labelmap.txt lacks',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_what_is_wrong_with_an_image(tmp_path, name):
    write, words = FAULTS[name]
    write_images(tmp_path / 'images')
    found = find_annotations(write(tmp_path), tmp_path / 'images')
    image = next(image for image in found.images if Path(image).name == NAME)
    with pytest.raises(ValueError, match=words):
        found.mask(image)


def test_one_report_of_all_faults(tmp_path, scope):
    """Each image with a fault of its own, and each kind with what to do."""
    write_images(tmp_path / 'images')
    turned, plain = Image.Exif(), Image.fromarray(noise())
    turned[EXIF_ORIENTATION] = 6
    for name in ('small', 'two points', 'outside', 'unknown'):
        plain.save(tmp_path / f'images/{name}.jpg')
    plain.save(tmp_path / 'images/turned.jpg', exif=turned)
    plain.save(tmp_path / 'images/shown.jpg', exif=turned)
    (tmp_path / 'images/broken.jpg').write_bytes(b'broken')

    stored = coco_json([[flat(area)] for area in POLYGONS.areas])
    sizes = dict(shown=(HEIGHT, WIDTH), small=(WIDTH // 2, HEIGHT // 2))
    segmentations = {
        'two points': [[1, 1, 5, 5]],
        'outside': [[1, 1, 5, 5, 300, 9]],
        'unknown': [[1, 1, 5, 5, 3, 9]],
    }
    others = ('turned', 'shown', 'small', 'two points', 'outside', 'unknown', 'broken', 'absent')
    for number, name in enumerate(others, start=20):
        width, height = sizes.get(name, (WIDTH, HEIGHT))
        image = dict(id=number, file_name=f'{name}.jpg', width=width, height=height)
        stored['images'].append(image)
        if name in segmentations:
            stored['annotations'].append(
                dict(
                    id=number,
                    image_id=number,
                    category_id=99 if name == 'unknown' else 7,
                    segmentation=segmentations[name],
                )
            )
    stored['images'].append(dict(id=50, file_name=f'x/{NAME}', width=WIDTH, height=HEIGHT))
    save(tmp_path / 'images/all.json', stored)
    dataset = AnnotatedDataset(
        annotations='images/all.json',
        data_root=str(tmp_path),
        metainfo=dict(classes=('background', 'road', 'car')),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadMask')],
    )
    with pytest.raises(DatasetError) as raised:
        check_dataset(dataset)
    text = str(raised.value)
    for words in (
        'annotated images that are not there: 1\n    got       absent.jpg of ',
        'images that are annotated twice: 1\n    got       x/Straße 1.JPG of ',
        'unusable annotations: 6\n',
        f'turned.jpg: got annotations of {WIDTH} x {HEIGHT} pixels, its image has {HEIGHT} x '
        f'{WIDTH} as it is shown: it is turned by its EXIF data',
        f'small.jpg: got annotations of {WIDTH // 2} x {HEIGHT // 2} pixels, its image has',
        'two points.jpg: annotation 23: got a polygon of 2 points',
        'outside.jpg: annotation 24: got the point (300, 9), which is outside of',
        "unknown.jpg: annotation 25: got the category 'category_id 99', which the list of them",
        'unreadable images: 1\n',
        'broken.jpg: got no image of a known format',
        'outlines or masks of known categories',
    ):
        assert words in text, (words, text)
    assert 'shown.jpg' not in text and 'masks of another size' not in text


def test_mmsegs_own_loader_is_refused(tmp_path, scope):
    write_images(tmp_path / 'images')
    coco_file(tmp_path)
    dataset = AnnotatedDataset(
        annotations='images/all.json',
        data_root=str(tmp_path),
        metainfo=dict(classes=('background', 'road', 'car')),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
        serialize_data=False,
    )
    with pytest.raises(DatasetError, match="put dict\\(type='LoadMask'\\)"):
        check_dataset(dataset)


def test_masks_that_are_missing_are_still_that(write_pair, folder, scope):
    """LoadMask says of a file what it said before."""
    _, mask = write_pair('a')
    write_pair('b')
    mask.unlink()
    dataset: FolderDataset = folder()
    with pytest.raises(DatasetError, match='images without a mask: 1'):
        check_dataset(dataset)


def test_pycocotools_is_an_extra(tmp_path, monkeypatch):
    write_images(tmp_path / 'images')
    found = find_annotations(coco_file(tmp_path))
    monkeypatch.setitem(__import__('sys').modules, 'pycocotools', None)
    with pytest.raises(ImportError, match=r"pip install -e '.\[labels\]'"):
        found.mask(found.images[0])
    assert json.loads((tmp_path / 'images/all.json').read_text())


def test_predictions_are_no_annotations(tmp_path):
    write_images(tmp_path / 'images')
    path = coco_polygons(tmp_path, POLYGONS)
    expected = find_annotations(path).image_list.paths
    out = path.parent / 'out'
    for name in ('instances.json', 'instances/a.json', f'overlays/{NAME}'):
        save(out / name, path.read_bytes())
    save(out / 'predictions.jsonl', b'{"made_by": "", "folders": ["overlays", "instances"]}\n')
    assert find_annotations(path.parent).image_list.paths == expected
    with pytest.raises(DatasetError, match='an empty folder'):
        find_annotations(out)
