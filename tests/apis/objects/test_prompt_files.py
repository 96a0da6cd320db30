import json
from pathlib import Path

import pytest

from mmsam_peft.apis.objects.prompt_files import (
    ImagePrompts,
    ObjectPrompt,
    match_images,
    read_boxes,
    read_points,
)

COCO = dict(
    images=[
        dict(id=7, file_name='a.png', height=30, width=40),
        dict(id=9, file_name='deeper/b.png'),
        dict(id=11, file_name='empty.png'),
    ],
    annotations=[
        dict(id=1, image_id=9, category_id=3, bbox=[1, 2, 10, 20]),
        dict(id=2, image_id=7, category_id=2, bbox=[0.5, 0, 3, 4]),
        dict(id=3, image_id=9, category_id=2, bbox=[5, 5, 1, 1]),
        dict(id=4, image_id=9, category_id=2, bbox=[0, 0, 9, 9], iscrowd=1),
    ],
    categories=[dict(id=2, name='cat'), dict(id=3, name='dog')],
)


@pytest.fixture
def write(tmp_path):
    def write(content, name='given.csv'):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_points(write):
    text = '\ufeffImage, x ,y,object,label\na.png,1,2.5,cat,1\nb.png,3,4,1,\na.png,5,6,cat,0\n\n'
    found = read_points(write(text + 'a.png,7,8,dog,1\n'))
    assert found.categories is None and found.images == {
        'a.png': ImagePrompts(
            (
                ObjectPrompt(((1, 2.5), (5, 6)), (1, 0)),
                ObjectPrompt(((7, 8),), (1,)),
            )
        ),
        'b.png': ImagePrompts((ObjectPrompt(((3, 4),), (1,)),)),
    }
    one_each = read_points(write('image,x,y\na.png,1,2\nb.png,3,4\n'))
    assert [len(one.objects) for one in one_each.images.values()] == [1, 1]


def test_boxes(write):
    found = read_boxes(write('x0,y0,x1,y1,image\n1,2,3,4,a.png\n5,6,7.5,8,a.png\n'))
    boxes = (1, 2, 3, 4), (5, 6, 7.5, 8)
    assert found.images == {'a.png': ImagePrompts(tuple(ObjectPrompt(box=box) for box in boxes))}


def test_coco_boxes(write):
    found = read_boxes(write(json.dumps(COCO), 'boxes.json'))
    assert found.categories == COCO['categories'] and list(found.images) == [
        'a.png',
        'deeper/b.png',
    ]
    a, b = found.images.values()
    assert (a.size, a.number, b.size, b.number) == ((30, 40), 7, None, 9)
    assert a.objects == (ObjectPrompt(box=(0.5, 0, 3.5, 4), category=2),)
    assert [(one.box, one.category) for one in b.objects] == [
        ((1, 2, 11, 22), 3),
        ((5, 5, 6, 6), 2),
    ]


@pytest.mark.parametrize(
    'text, message',
    [
        ('', r'got the columns \(none\), expected image, x, y'),
        (
            'image;x;y\na;1;2',
            r'got the columns image;x;y, expected .* separated by commas: image is',
        ),
        ('image,x\na,1', 'y is missing'),
        ('image,x,y,z\na,1,2,3', 'got the column z, expected image, x, y, label, object only'),
        ('image,x,y,x\na,1,2,3', 'a column is there twice'),
        ('image,x,y\n\n', 'has no line below its first'),
        ('image,x,y\na,1', 'line 2: got 2 values, expected 3'),
        ('image,x,y\na,1,2\nb,1,?', r'line 3: got y=\?, expected a number'),
        ('image,x,y\na,nan,2', 'line 2: got x=nan, expected a number'),
        ('image,x,y\n,1,2', 'line 2: image is empty'),
        ('image,x,y,label\na,1,2,2', 'line 2: got label=2, expected 1, on the object, or 0'),
        ('image,x,y,object\na,1,2,', 'line 2: object is empty'),
        ('image,x,y\na,1,2\na,3,4', 'line 3: a second point in a, and no column object'),
        (b'image,x,y\n\xff,1,2', 'is no CSV in UTF-8'),
    ],
)
def test_wrong_points(write, text, message):
    with pytest.raises(ValueError, match=message):
        read_points(write(text))


@pytest.mark.parametrize(
    'text, message',
    [
        ('image,x,y\na,1,2', 'expected image, x0, y0, x1, y1'),
        ('image,x0,y0,x1,y1\na,1,2,1,4', 'line 2: got the box 1, 2, 1, 4, which has no area'),
    ],
)
def test_wrong_boxes(write, text, message):
    with pytest.raises(ValueError, match=message):
        read_boxes(write(text))


def changed(**parts):
    return json.dumps({**COCO, **parts})


@pytest.mark.parametrize(
    'text, message',
    [
        ('{', 'is no JSON'),
        ('[{"image_id": 7, "bbox": [1, 2, 3, 4]}]', 'A list of results alone has no file names'),
        (changed(images=[dict(id=7)]), 'image 7 has file_name=None, expected a str'),
        (changed(images=[dict(file_name='a.png')]), 'an image has id=None, expected a int'),
        (changed(images=COCO['images'][:1]), 'annotation 1 of image 9: images has no such id'),
        (
            changed(annotations=[dict(image_id=7)]),
            r'image 7: got bbox=None, expected \[x, y, width',
        ),
        (changed(annotations=[dict(image_id=7, bbox=[1, 2, 0, 4])]), 'which has no area'),
        (
            changed(annotations=[dict(image_id=7, bbox=[1, 2, 'a', 4])]),
            'got bbox=a, expected a num',
        ),
        (changed(annotations=[]), 'has no annotation: there is nothing to predict'),
        (
            changed(images=[*COCO['images'], dict(id=1, file_name='a.png')]),
            'two images are called a',
        ),
    ],
)
def test_wrong_coco(write, text, message):
    with pytest.raises(ValueError, match=message):
        read_boxes(write(text, 'boxes.json'))


def test_which_images_are_meant():
    root = Path('in')
    images = [root / name for name in ('a.png', 'x/a.png', 'x/b.png', 'y/c.png')]
    names = ('a.png', 'b.png', './y/c.png')
    assert match_images(names, images, root) == dict(
        zip(names, (images[0], images[2], images[3]), strict=True)
    )
    assert match_images(['up/in/x/b.png'], images, root) == {'up/in/x/b.png': images[2]}
    with pytest.raises(FileNotFoundError, match='names y/b.png, which are not among the images'):
        match_images(['y/b.png'], images, root)
    with pytest.raises(FileNotFoundError, match='names q.png, r.png, s.png and 1 more, which are'):
        match_images(['q.png', 'r.png', 's.png', 't.png'], images, root)
    with pytest.raises(ValueError, match='b.png may mean .*x/b.png or .*y/b.png: write'):
        match_images(['b.png'], [*images, root / 'y/b.png'], root)
    with pytest.raises(ValueError, match='b.png and x/b.png both mean'):
        match_images(['b.png', 'x/b.png'], images, root)
