import mmseg.datasets
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from PIL import Image

from mmsam_peft.datasets import DatasetError, check_dataset

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadMask')]
MASK = np.eye(6, 8, dtype=np.uint8)


def problems(dataset, *args, **kwargs) -> str:
    with pytest.raises(DatasetError) as error:
        check_dataset(dataset, *args, **kwargs)
    return str(error.value)


def test_a_good_set_passes_and_shows_progress(write_pair, folder, capsys):
    write_pair('a')
    write_pair('b', np.where(MASK == 1, 255, 1).astype(np.uint8))
    check_dataset(folder(), num_classes=2)
    assert 'Checking FolderDataset' in capsys.readouterr().out


def test_every_kind_of_problem_in_one_report(write_pair, write, folder):
    write_pair('good')
    write_pair('no_mask')[1].unlink()
    write_pair('no_image')[0].unlink()
    for part in (0, 1):
        path = write_pair(f'truncated_{part}')[part]
        path.write_bytes(path.read_bytes()[:-30])
    write_pair('empty')[0].write_bytes(b'')
    write_pair('size', np.zeros((8, 6), dtype=np.uint8))
    write_pair('values', MASK * 3 + MASK[::-1] * 2)
    text = problems(folder(), num_classes=3)
    sections, lines = {}, []
    for line in text.splitlines()[2:]:
        if line.startswith('    '):
            lines.append(line.strip())
        else:
            lines = sections[line.strip()] = []
    assert set(sections) == {
        'class count',
        'masks without an image: 1',
        'images without a mask: 1',
        'unreadable images: 2',
        'unreadable masks: 1',
        'masks of another size than their image: 1',
        'masks with values outside the classes: 1',
    }
    for title, lines in sections.items():
        assert [line.split()[0] for line in lines] == ['got'] * (len(lines) - 2) + [
            'expected',
            'do',
        ], title
    assert '2 in the data set (background, object), 3 in the model' in sections['class count'][0]
    assert 'no_image.png' in sections['masks without an image: 1'][0]
    assert 'no_mask.png' in sections['images without a mask: 1'][0]
    assert 'empty.png' in sections['unreadable images: 2'][0]
    assert 'truncated_0.png' in sections['unreadable images: 2'][1]
    assert 'truncated_1.png' in sections['unreadable masks: 1'][0]
    assert (
        'size.png: 6 x 8, its image 8 x 6'
        in sections['masks of another size than their image: 1'][0]
    )
    values, counts = np.unique(MASK * 3 + MASK[::-1] * 2, return_counts=True)
    wrong = ', '.join(f'{v} ({c} pixels)' for v, c in zip(values, counts, strict=True) if v > 1)
    assert sections['masks with values outside the classes: 1'][0].endswith(f'values.png: {wrong}')
    assert 'class numbers 0 .. 1, or 255' in sections['masks with values outside the classes: 1'][1]


def test_long_lists_are_cut(write_pair, folder):
    for i in range(8):
        write_pair(f'image{i}', MASK * 9)
    text = problems(folder())
    assert 'masks with values outside the classes: 8' in text
    assert text.count('.png') == 5 and '... and 3 more' in text


def test_wrong_class_count(write_pair, folder):
    write_pair('a')
    check_dataset(folder(), num_classes=2)
    text = problems(folder(), num_classes=12)
    assert (
        '2 in the data set (background, object), 12 in the model' in text and 'num_classes' in text
    )


@pytest.mark.parametrize('stored', ['clean', 'noisy'])
def test_masks_of_0_and_255_read_as_class_numbers(write_pair, folder, stored):
    mask = MASK * 255
    if stored == 'noisy':
        mask[0, 1], mask[1, 1] = 3, 252
    write_pair('a', mask)
    assert "mask_values='binary255'" in problems(
        folder()
    ) or "'binary255' for masks stored as 0/255" in problems(folder())
    check_dataset(folder(mask_values='binary255'))


def test_masks_of_0_and_1_read_as_0_and_255(write_pair, folder):
    write_pair('a')
    text = problems(folder(mask_values='binary255'))
    assert (
        'got only the values 0 and 1, expected 0 and 255' in text
        and "'binary01' where in all" in text
    )
    check_dataset(folder(mask_values='binary01'))
    check_dataset(folder(mask_values='index'))


def test_unlisted_colour(write_pair, folder):
    write_pair('a', np.array([[0, 0, 0], [9, 8, 7]], dtype=np.uint8)[MASK])
    text = problems(folder(mask_values=[[0, 0, 0], [255, 0, 0]]))
    assert 'unreadable masks: 1' in text and '[9, 8, 7]' in text
    check_dataset(folder(mask_values=[[0, 0, 0], [9, 8, 7]]))


def test_truncated_image_needs_decoding_to_be_seen(write_pair, write, folder):
    write_pair('a')
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    path = write('img_dir/train/cut.jpg', image)
    write('ann_dir/train/cut.png', np.zeros((60, 80), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-50])
    assert 'cut.jpg' in problems(folder())
    check_dataset(folder(), decode_images=False)
    write('ann_dir/train/cut.png', np.zeros((80, 60), dtype=np.uint8))
    assert 'cut.png: 60 x 80, its image 80 x 60' in problems(folder(), decode_images=False)


@pytest.mark.parametrize('decode_images', [True, False])
def test_exif_rotation_counts(write, folder, decode_images):
    rotated = Image.Exif()
    rotated[0x0112] = 6
    write('img_dir/train/a.jpg', np.zeros((6, 8, 3), dtype=np.uint8), exif=rotated)
    write('ann_dir/train/a.png', MASK.T.copy())
    check_dataset(folder(), decode_images=decode_images)
    write('ann_dir/train/a.png', MASK)
    assert 'a.png: 8 x 6, its image 6 x 8' in problems(folder(), decode_images=decode_images)


@pytest.mark.parametrize('height, width', [(1, 1), (3000, 4000)])
def test_extreme_sizes(write, folder, scope, height, width):
    write('img_dir/train/a.png', np.full((height, width), 7, dtype=np.uint8))
    mask = np.ones((height, width), dtype=np.uint8)
    write('ann_dir/train/a.png', mask)
    write('img_dir/train/b.png', IMAGE)
    write('ann_dir/train/b.png', MASK)
    resize = dict(type='Resize', scale=(64, 64), keep_ratio=False, interpolation='bicubic')
    dataset = folder(pipeline=[*PIPELINE, resize, dict(type='PackSegInputs')])
    check_dataset(dataset)
    sample = dataset[0]
    assert sample['inputs'].shape == (3, 64, 64) and (sample['inputs'] == 7).all()
    assert (sample['data_samples'].gt_sem_seg.data == 1).all()
    assert sample['data_samples'].ori_shape == (height, width)


def test_wrapped_sets_are_checked_leaf_by_leaf(write_pair, folder):
    write_pair('a')
    write_pair('b', MASK * 5, split='val')
    good, bad = folder('train'), folder('val')
    check_dataset(ConcatDataset([good, good]))
    for wrapped in (ConcatDataset([good, bad]), RepeatDataset(bad, 3)):
        text = problems(wrapped)
        assert text.count('b.png: 5 (6 pixels)') == text.count('FolderDataset, 1 images of') == 1


@pytest.mark.parametrize('reduce_zero_label', [False, True])
def test_sets_of_mmseg_with_their_own_loaders(write_pair, tmp_path, scope, reduce_zero_label):
    write_pair('a', MASK + 1)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    dataset = mmseg.datasets.BaseSegDataset(
        img_suffix='.png',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
        metainfo=dict(classes=('a', 'b')),
        reduce_zero_label=reduce_zero_label,
        pipeline=pipeline,
    )
    if reduce_zero_label:
        check_dataset(dataset)
    else:
        assert 'a.png: 2 (6 pixels)' in problems(dataset)


def test_a_set_without_classes(write_pair, tmp_path):
    write_pair('a')
    prefix = dict(img_path='img_dir/train', seg_map_path='ann_dir/train')
    dataset = mmseg.datasets.BaseSegDataset(
        img_suffix='.png', data_root=str(tmp_path), data_prefix=prefix
    )
    assert 'class count' in problems(dataset, num_classes=2)


@pytest.mark.parametrize(
    'mask_values, stored, advice',
    [
        ('binary01', 2 - MASK, "'index' the class numbers themselves"),
        ('binary255', MASK * 0 + 255, "'binary01' anything but 0"),
        ('binary255', MASK * 0, "'binary01' anything but 0"),
        ('index', MASK * 0 + 1, "'binary255', masks of 0 and"),
        ([[0, 0, 0], [9, 9, 9]], MASK * 9 * 0, 'the i-th colour of mask_values'),
    ],
    ids=['trimap', 'all object', 'no object', 'index', 'colours'],
)
def test_one_class_that_holds_all_pixels(write_pair, folder, mask_values, stored, advice):
    write_pair('a', stored)
    text = problems(folder(mask_values=mask_values))
    assert 'only one class is seen' in text and advice in text


def test_parts_without_objects_and_validation_without_objects(write_pair, folder, caplog):
    write_pair('a', MASK * 0)
    write_pair('b', split='val')
    empty = folder()
    check_dataset(ConcatDataset([empty, folder('val')]))
    assert 'only one class is seen' in problems(ConcatDataset([empty, empty]))
    check_dataset(empty, training=False)
    write_pair('a', MASK * 0 + 1)
    assert 'only one class is seen' in problems(folder(), training=False)


def test_one_mask_of_0_and_255_among_class_numbers(write_pair, folder):
    """With a border of ignored pixels around objects, 255 means what it says."""
    write_pair('a', MASK * 255)
    write_pair('b')
    text = problems(folder())
    assert 'masks stored unlike the others: 1' in text and 'a.png: values 0 and 255' in text
    write_pair('c', np.where(MASK[::-1] == 1, 255, MASK).astype(np.uint8))
    check_dataset(folder())


def test_setting_that_the_pipeline_does_not_know(write_pair, folder, scope):
    write_pair('a', MASK * 255)
    theirs = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    text = problems(folder(mask_values='binary255', pipeline=theirs))
    assert "LoadAnnotations in the pipeline, which does not know mask_values='binary255'" in text
    assert "put dict(type='LoadMask')" in text and 'need mask_values' not in text
    check_dataset(folder(mask_values='binary255', pipeline=PIPELINE))


def test_messages_are_bounded(write_pair, folder, scope, tmp_path, monkeypatch):
    write_pair('a')
    (tmp_path / 'list.txt').write_text('a\n' + '\a' * 100_000)
    text = problems(folder(ann_file='list.txt', classes=[f'class {i}' for i in range(200)]))
    assert len(text) < 3000 and '\a' not in text and 'names without an image: 1' in text

    def explode(content):
        raise TypeError(repr(content) * 1000)

    monkeypatch.setattr('mmsam_peft.datasets.transforms.loading.read_image', explode)
    assert len(problems(folder(pipeline=PIPELINE))) < 2000


@pytest.mark.parametrize('decode_images', [True, False])
def test_images_that_would_be_read_wrongly(write, folder, decode_images):
    write('img_dir/train/deep.png', IMAGE[..., 0].astype(np.uint16) * 16)
    write('ann_dir/train/deep.png', MASK)
    text = problems(folder(), decode_images=decode_images)
    assert text.count('deep.png') == 1 and 'deep.png: got 16-bit whole numbers' in text


def test_only_the_chosen_samples_are_read(write_pair, folder):
    write_pair('a')
    write_pair('b', MASK * 5)
    check_dataset(folder(indices=1))
    assert 'b.png' in problems(folder(indices=2))
