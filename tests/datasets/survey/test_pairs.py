import pytest

from mmsam_peft.datasets import DatasetError
from mmsam_peft.datasets.files import files_below
from mmsam_peft.datasets.survey.pairs import find_pairs


@pytest.fixture
def touch(tmp_path):
    """Makes empty files below ``tmp_path``."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make


def named(found, root):
    return [
        (
            pair.image.relative_to(root).as_posix(),
            pair.mask.relative_to(root).as_posix(),
            pair.split,
        )
        for pair in found.pairs
    ]


@pytest.mark.parametrize(
    'image, mask, split',
    [
        ('images/a1.jpg', 'masks/a1.png', None),
        ('images/a1.jpg', 'masks/a1_mask.png', None),
        ('images/img_0001.ome.tif', 'masks/Label0001.ome.tif', None),
        ('img_dir/train/a.jpg', 'ann_dir/train/a.png', 'train'),
        ('training/images/a.jpg', 'training/gt/a_seg.png', 'train'),
        ('test/a.png', 'test_labels/a_L.png', 'test'),
        ('valannot/a.png', 'val/a.png', 'val'),
        ('a.jpg', 'a_mask.png', None),
        ('sub/7_sat.jpg', 'sub/7_mask.png', None),
        (
            'leftImg8bit/val/ulm/ulm_1_leftImg8bit.png',
            'gtFine/val/ulm/ulm_1_gtFine_labelIds.png',
            'val',
        ),
        ('JPEGImages/a.jpg', 'SegmentationClass/a.png', None),
    ],
)
def test_one_folder(touch, image, mask, split):
    root = touch(image, mask)
    if image == 'valannot/a.png':
        image, mask = mask, image
    assert named(find_pairs(root), root) == [(image, mask, split)]


@pytest.mark.parametrize(
    'image, mask',
    [
        ('photos/seg_1.jpg', 'other/seg_1.png'),
        ('photos/x/a.jpg', 'other/a.png'),
        ('photos/image_7.jpg', 'other/gt7.png'),
        ('data/1.jpg', 'data/masks/1.png'),
    ],
)
def test_two_folders(touch, image, mask):
    root = touch(image, mask)
    folders = [root / name.rpartition('/')[0] for name in (image.replace('x/', ''), mask)]
    assert named(find_pairs(*folders), root) == [(image, mask, None)]


def test_splits_keep_equal_names_apart(touch):
    root = touch(
        *(f'{part}/{kind}/1.png' for part in ('train', 'val') for kind in ('images', 'gt'))
    )
    assert named(find_pairs(root), root) == [
        (f'{part}/images/1.png', f'{part}/gt/1.png', part) for part in ('train', 'val')
    ]


def test_what_is_left_over_is_named(touch):
    root = touch('images/a.jpg', 'images/b.jpg', 'masks/a.png', 'masks/c.png', 'masks/notes.txt')
    found = find_pairs(root / 'images', root / 'masks')
    assert [pair.image.name for pair in found.pairs] == ['a.jpg']
    assert [path.name for path in found.without_mask] == ['b.jpg']
    assert [path.name for path in found.without_image] == ['c.png']


def test_two_masks_of_an_image_are_no_pair(touch):
    root = touch('images/a.jpg', 'images/b.jpg', 'masks/a.png', 'masks/b.png', 'masks/b.tif')
    found = find_pairs(root)
    assert [pair.image.name for pair in found.pairs] == ['a.jpg']
    assert found.several == ['images/b.jpg: masks/b.png, masks/b.tif']


def test_predictions_are_neither_images_nor_labels(touch, tmp_path):
    touch('out/masks/a.png', 'out/overlays/a.png', 'a.jpg', 'a_mask.png')
    record = tmp_path / 'out/predictions.jsonl'
    record.write_text('{"made_by": "", "folders": ["masks", "overlays"]}\n')
    assert named(find_pairs(tmp_path), tmp_path) == [('a.jpg', 'a_mask.png', None)]
    found = find_pairs(tmp_path, tmp_path / 'out/masks')  # named by somebody
    assert named(found, tmp_path) == [('a.jpg', 'out/masks/a.png', None)]


@pytest.mark.parametrize('line', ['[1]', '{"folders": ["data"]}', '{"made_by": 1, "folders": 1}'])
def test_records_of_other_programs_hide_nothing(touch, tmp_path, line):
    touch('data/a.jpg', 'data/a_mask.png', 'instances.json')
    (tmp_path / 'predictions.jsonl').write_text(line)
    assert 'instances.json' in files_below(tmp_path)
    assert named(find_pairs(tmp_path), tmp_path) == [('data/a.jpg', 'data/a_mask.png', None)]


def test_errors_say_what_was_there(touch, tmp_path):
    touch('images/a.jpg', 'masks/x.png', 'empty/readme.txt', 'many/images/1.jpg')
    touch('many/masks/1_0.png', 'many/masks/1_00.png')
    with pytest.raises(DatasetError, match=r'no image has a mask .*a\.jpg.*x\.png'):
        find_pairs(tmp_path / 'images', tmp_path / 'masks')
    with pytest.raises(DatasetError, match='there are no images'):
        find_pairs(tmp_path / 'empty', tmp_path / 'masks')
    with pytest.raises(DatasetError, match='is no folder'):
        find_pairs(tmp_path / 'absent')
