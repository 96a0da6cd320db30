from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsam_peft.datasets import DatasetError, FolderDataset

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadMask'), dict(type='PackSegInputs')]
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
MASK = np.eye(6, 8, dtype=np.uint8)


def pairs(dataset: FolderDataset) -> list[tuple[str, str]]:
    return [
        (Path(s['img_path']).name, Path(s['seg_map_path']).name)
        for s in map(dataset.get_data_info, range(len(dataset)))
    ]


def test_pairs_by_name_whatever_the_suffixes(write, folder, tmp_path):
    for name in ('c.JPG', 'a.jpeg', 'b.PNG', 'd.bmp', 'e.tif', 'f.TIFF'):
        write(f'img_dir/train/{name}', IMAGE)
    for name in ('a.png', 'b.BMP', 'c.gif', 'd.tif', 'e.jpg', 'f.PNG'):
        write(f'ann_dir/train/{name}', MASK)
    (tmp_path / 'img_dir/train/notes.txt').touch()
    dataset = folder()
    assert pairs(dataset) == [
        ('a.jpeg', 'a.png'),
        ('b.PNG', 'b.BMP'),
        ('c.JPG', 'c.gif'),
        ('d.bmp', 'd.tif'),
        ('e.tif', 'e.jpg'),
        ('f.TIFF', 'f.PNG'),
    ]
    assert dataset.problems == {}


def test_sub_folders_and_mask_endings(write, folder):
    write('img_dir/train/one/a.jpg', IMAGE)
    write('img_dir/train/two/a.jpg', IMAGE)
    write('ann_dir/train/one/a_mask.png', MASK)
    write('ann_dir/train/two/a.png', MASK)
    dataset = folder(seg_map_suffix=['.png', '_mask.png'])
    assert pairs(dataset) == [('a.jpg', 'a_mask.png'), ('a.jpg', 'a.png')]
    assert dataset.problems == {}


def test_what_does_not_pair_up_is_kept_for_the_check(write_pair, write, folder):
    write_pair('a')
    write('img_dir/train/a.jpg', IMAGE)
    write('img_dir/train/lonely.png', IMAGE)
    write('ann_dir/train/orphan.png', MASK)
    dataset = folder()
    assert pairs(dataset) == [('a.jpg', 'a.png'), ('lonely.png', 'lonely.png')]
    assert {kind: len(lines) for kind, lines in dataset.problems.items()} == {
        'names with several files': 1,
        'masks without an image': 1,
    }
    assert 'a.jpg' in dataset.problems['names with several files'][0]
    assert 'orphan.png' in dataset.problems['masks without an image'][0]


def test_what_no_person_put_there_is_no_data(write_pair, write, folder, tmp_path):
    write_pair('a')
    for name in (
        '._a.png',
        '.ipynb_checkpoints/a-checkpoint.png',
        'sub/.hidden/b.png',
        '__MACOSX/a.png',
    ):
        write(f'img_dir/train/{name}', IMAGE)
    (tmp_path / 'img_dir/train/Thumbs.db').touch()
    (tmp_path / 'img_dir/train/folder.png').mkdir()
    (tmp_path / 'img_dir/train/loop').symlink_to(tmp_path / 'img_dir')
    dataset = folder()
    assert pairs(dataset) == [('a.png', 'a.png')] and dataset.problems == {}


def test_links_to_folders_and_files_are_followed(write_pair, write, folder, tmp_path):
    for kind, array in dict(img_dir=IMAGE, ann_dir=MASK).items():
        write(f'elsewhere/{kind}/b.png', array)
        (tmp_path / kind / 'train').mkdir(parents=True)
        (tmp_path / kind / 'train/linked').symlink_to(tmp_path / 'elsewhere' / kind)
        (tmp_path / kind / 'train/a.png').symlink_to(tmp_path / 'elsewhere' / kind / 'b.png')
        (tmp_path / kind / 'train/dead.png').symlink_to(tmp_path / 'nowhere.png')
    assert pairs(folder()) == [('a.png', 'a.png'), ('dead.png', 'dead.png'), ('b.png', 'b.png')]


def test_names_of_every_kind(write, folder, tmp_path):
    """An accented letter is stored in two ways; a list may begin with a byte order mark."""
    composed, decomposed = 'caf\u00e9 1', 'cafe\u0301 1'
    write(f'img_dir/train/{composed}.png', IMAGE)
    write(f'ann_dir/train/{decomposed}.png', MASK)
    for name in ('a b.c', '\u8def', 'x' * 240):
        write(f'img_dir/train/{name}.png', IMAGE)
        write(f'ann_dir/train/{name}.png', MASK)
    dataset = folder()
    assert len(dataset) == 4 and dataset.problems == {}
    (tmp_path / 'list.txt').write_text(f'\ufeff{decomposed}\na b.c\n', 'utf-8')
    assert pairs(folder(ann_file='list.txt')) == [
        (f'{composed}.png', f'{decomposed}.png'),
        ('a b.c.png', 'a b.c.png'),
    ]
    (tmp_path / 'list.txt').write_bytes(bytes(range(256)))
    with pytest.raises(DatasetError, match='list.txt, which is no text in UTF-8'):
        folder(ann_file='list.txt')


def test_ann_file_selects_and_orders(write_pair, folder, tmp_path):
    for name in 'abc':
        write_pair(name)
    (tmp_path / 'split.txt').write_text('c\na\nz\n')
    dataset = folder(ann_file='split.txt')
    assert pairs(dataset) == [('c.png', 'c.png'), ('a.png', 'a.png')]
    assert list(dataset.problems) == ['names without an image']
    assert dataset.problems['names without an image'][0].startswith('z of ')


def test_a_set_without_masks(write_pair, folder, scope):
    write_pair('a')
    dataset = folder(data_prefix=dict(img_path='img_dir/train'), pipeline=PIPELINE)
    assert 'seg_map_path' not in dataset.get_data_info(0)
    assert 'gt_sem_seg' not in dataset[0]['data_samples']


def test_empty_and_absent_folders(folder, tmp_path):
    with pytest.raises(
        DatasetError,
        match=r'(?s)no images.*train: no such folder.*\.jpg \.jpeg.*data_prefix\.img_path',
    ):
        folder()
    images = tmp_path / 'img_dir/train'
    images.mkdir(parents=True)
    with pytest.raises(DatasetError, match='an empty folder'):
        folder()
    for name in ('a.dcm', 'b.dcm', 'c'):
        (images / name).touch()
    with pytest.raises(
        DatasetError,
        match=r'no such file in it \(2 x \.dcm, 1 x no suffix; DICOM files are not read: export',
    ):
        folder()
    Image.fromarray(IMAGE).save(images / 'a.jpg')
    with pytest.raises(
        DatasetError,
        match=r'(?s)no masks.*ann_dir/train: no such folder.*data_prefix\.seg_map_path',
    ):
        folder()


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(metainfo=None), 'got classes=None'),
        (dict(metainfo=dict(classes='polyp')), "got classes='polyp'"),
        (
            dict(metainfo=dict(classes=('a', 'b'), palette=[[0, 0, 0]])),
            'got 1 palette colours for 2 classes',
        ),
        (dict(mask_values='binary'), "got mask_values='binary', expected one of"),
        (dict(mask_values='binary255', classes=('a', 'b', 'c')), 'got 3 classes .* expected 2'),
        (dict(mask_values=[[0, 0, 0]]), 'expected one RGB colour for each of the 2 classes'),
        (dict(mask_values=[[0, 0], [1, 1]]), 'expected one RGB colour for each of the 2 classes'),
    ],
)
def test_settings_that_disagree(write_pair, folder, settings, message):
    write_pair('a')
    with pytest.raises(DatasetError, match=message):
        folder(**settings)


@pytest.mark.parametrize(
    'mask_values, stored',
    [
        ('index', MASK),
        ('binary01', MASK * 7),
        ('binary255', MASK * 200),
        ([[0, 0, 9], [9, 0, 0]], [[0, 0, 9], [9, 0, 0]]),
    ],
)
def test_mask_values_reach_the_pipeline(write_pair, folder, scope, mask_values, stored):
    write_pair(
        'a', stored if isinstance(stored, np.ndarray) else np.array(stored, dtype=np.uint8)[MASK]
    )
    sample = folder(mask_values=mask_values, pipeline=PIPELINE)[0]
    np.testing.assert_array_equal(sample['data_samples'].gt_sem_seg.data[0].numpy(), MASK)


@pytest.mark.parametrize(
    'image, suffix',
    [
        (Image.fromarray(IMAGE[..., 0]), '.png'),
        (Image.fromarray(IMAGE).convert('RGBA'), '.png'),
        (Image.fromarray(IMAGE).convert('LA'), '.png'),
        (Image.fromarray(IMAGE).convert('P'), '.png'),
        (Image.fromarray(IMAGE).convert('CMYK'), '.jpg'),
    ],
    ids=['grey', 'RGBA', 'grey with alpha', 'palette', 'CMYK'],
)
def test_images_of_every_kind_load_as_three_bytes_a_pixel(write, folder, scope, image, suffix):
    write(f'img_dir/train/a{suffix}', image)
    write('ann_dir/train/a.png', MASK)
    inputs = folder(pipeline=PIPELINE)[0]['inputs'].numpy()
    assert inputs.shape == (3, 6, 8) and inputs.dtype == np.uint8
    if image.mode == 'L':
        np.testing.assert_array_equal(inputs, np.broadcast_to(IMAGE[..., 0], (3, 6, 8)))
    elif image.mode == 'RGBA':
        np.testing.assert_array_equal(inputs, IMAGE.transpose(2, 0, 1)[::-1])  # BGR


@pytest.mark.parametrize('broken', ['img_dir', 'ann_dir'])
@pytest.mark.parametrize('test_mode', [False, True])
def test_an_unreadable_file_is_not_replaced_by_another_sample(
    write_pair, folder, scope, tmp_path, broken, test_mode
):
    for name in 'ab':
        write_pair(name)
    path = tmp_path / broken / 'train/a.png'
    path.write_bytes(path.read_bytes()[:50])
    dataset = folder(pipeline=PIPELINE, test_mode=test_mode)
    with pytest.raises((AssertionError, ValueError), match=f'{broken}/train/a.png'):
        dataset[0]


def test_an_image_without_mask_is_an_error(write_pair, folder, scope):
    write_pair('a')[1].rename(write_pair('b')[1])
    with pytest.raises(FileNotFoundError, match='ann_dir/train/a.png'):
        folder(pipeline=PIPELINE)[0]


def test_a_list_of_pairs_needs_no_common_names(write, folder, tmp_path):
    """Names that no rule would pair, one of them with spaces; other files do not matter."""
    for name in ('img/x 1.png', 'img/2.png', 'gt/one.png', 'gt/sub/two.png', 'gt/2.png'):
        write(name, np.eye(6, 8, dtype=np.uint8))
    (tmp_path / 'list.txt').write_text('x 1.png\tsub/two.png\r\n2.png\tone.png\n\n')
    settings = dict(ann_file='list.txt', data_prefix=dict(img_path='img', seg_map_path='gt'))
    dataset = folder(**settings)
    pairs = [
        (info['img_path'], info['seg_map_path']) for info in map(dataset.get_data_info, (0, 1))
    ]
    assert pairs == [
        (f'{tmp_path}/img/x 1.png', f'{tmp_path}/gt/sub/two.png'),
        (f'{tmp_path}/img/2.png', f'{tmp_path}/gt/one.png'),
    ]
    assert not dataset.problems
    without = folder(ann_file='list.txt', data_prefix=dict(img_path='img'))
    assert 'seg_map_path' not in without.get_data_info(0)
    (tmp_path / 'list.txt').write_text('x 1.png\tone.png\n2.png\n')
    with pytest.raises(DatasetError, match=r"got the line '2\.png' in .* one tab between"):
        folder(**settings)


def test_tolerant_colours_are_checked(folder):
    colours = [[0, 0, 0], [255, 0, 0]]
    with pytest.raises(DatasetError, match='expected one RGB colour for each of the 3 classes'):
        folder(classes=('a', 'b', 'c'), mask_values=dict(colours=colours, tolerance=9))
    with pytest.raises(DatasetError, match=r'expected dict\(colours='):
        folder(mask_values=dict(colors=colours))
