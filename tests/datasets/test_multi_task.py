import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from PIL import Image

from mmsam_peft.datasets import DatasetError, MultiTaskDataset, check_dataset
from mmsam_peft.datasets.checks import multi_task
from mmsam_peft.registry import DATASETS
from mmsam_peft.registry import TASKS as TASK_KINDS

TASKS = [
    dict(type='SemanticSegmentation', name='seg', num_classes=4),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals'),
    dict(type='Saliency', name='sal'),
]
PIPELINE = [
    dict(type='LoadImageOrArray'),
    dict(type='LoadMultiTaskLabels'),
    dict(type='PackMultiTaskInputs'),
]
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
CLASSES = RNG.integers(0, 4, (6, 8), dtype=np.uint8)
DEPTH = RNG.integers(500, 9000, (6, 8)).astype(np.uint16)
NORMALS = np.stack([np.full((6, 8), 0.6), np.zeros((6, 8)), np.full((6, 8), 0.8)], -1)


@pytest.fixture
def write_sample(write, tmp_path):
    """``write_sample('a', depth=None)``: an image 6 high and 8 wide with all labels but those that
    are None."""

    def save(name: str, split: str = 'train', **changed) -> None:
        labels = dict(seg=CLASSES, depth=DEPTH, normals=NORMALS, sal=CLASSES // 2 * 255) | changed
        write(f'img_dir/{split}/{name}.png', IMAGE)
        for task, label in labels.items():
            if label is not None and label.dtype == float:
                path = tmp_path / f'{task}_dir/{split}/{name}.npy'
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, label)
            elif label is not None:
                write(f'{task}_dir/{split}/{name}.png', label)

    return save


@pytest.fixture
def build(tmp_path):
    return lambda **settings: MultiTaskDataset(
        **(dict(tasks=TASKS, data_root=str(tmp_path)) | settings)
    )


def problems(dataset, **options) -> dict[str, list[str]]:
    """Title of a section of the report -> what was got."""
    with pytest.raises(DatasetError) as error:
        check_dataset(dataset, **options)
    sections, lines = {}, []
    for line in str(error.value).splitlines()[2:]:
        if line.startswith('    '):
            lines.append(line.split(maxsplit=1)[1])
        else:
            lines = sections[line.strip()] = []
    return {title: got[:-2] for title, got in sections.items()}


def test_a_sample_with_all_labels(write_sample, build, scope):
    write_sample('a')
    dataset = build(pipeline=PIPELINE)
    check_dataset(dataset)
    sample = dataset[0]
    assert sample['inputs'].shape == (3, 6, 8)
    np.testing.assert_array_equal(sample['inputs'].numpy()[::-1].transpose(1, 2, 0), IMAGE)
    found = {
        name: getattr(sample['data_samples'], f'gt_{name}')
        for name in ('seg', 'depth', 'normals', 'sal')
    }
    np.testing.assert_array_equal(found['seg'].data[0], CLASSES)
    np.testing.assert_allclose(found['depth'].data[0], DEPTH / 1000, rtol=1e-6)
    np.testing.assert_allclose(found['normals'].data, NORMALS.transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(found['sal'].data[0], CLASSES // 2)
    assert all(field.valid.shape == (1, 6, 8) and field.valid.all() for field in found.values())
    assert Path(sample['data_samples'].img_path).name == 'a.png' and sample[
        'data_samples'
    ].ori_shape == (6, 8)


def test_depth_unit(write_sample, build, scope):
    write_sample('a')
    sample = build(pipeline=PIPELINE, depth_unit=0.5)[0]
    np.testing.assert_allclose(sample['data_samples'].gt_depth.data[0], DEPTH * 0.5)


def test_unknown_depth_and_normals_become_zero(write_sample, build, scope):
    depth, normals = DEPTH / 1000, NORMALS.copy()
    depth[1, 2], depth[3, 4], depth[5, 6], normals[2, 2] = np.nan, np.inf, 0, np.nan
    write_sample('a', depth=depth, normals=normals)
    zoom = dict(type='MultiTaskZoomCrop', scales=[1.5])
    for pipeline in (PIPELINE, [*PIPELINE[:2], zoom, PIPELINE[2]]):
        found = build(pipeline=pipeline)[0]['data_samples']
        assert found.gt_depth.data.isfinite().all() and found.gt_normals.data.isfinite().all()
    found = build(pipeline=PIPELINE)[0]['data_samples']
    unknown = np.zeros((6, 8), bool)
    unknown[[1, 3, 5], [2, 4, 6]] = True
    np.testing.assert_array_equal(found.gt_depth.valid[0], ~unknown)
    np.testing.assert_allclose(found.gt_depth.data[0], np.where(unknown, 0, depth), rtol=1e-6)
    assert found.gt_normals.valid.sum() == 47 and (found.gt_normals.data[:, 2, 2] == 0).all()


def test_samples_may_lack_labels(write_sample, build, scope):
    write_sample('a', depth=None)
    write_sample('b', seg=None, normals=None, sal=None)
    write_sample('c')
    dataset = build(pipeline=PIPELINE)
    check_dataset(dataset)
    found = [
        sorted(key for key in sample['data_samples'].keys() if key.startswith('gt_'))
        for sample in dataset
    ]
    assert found == [
        ['gt_normals', 'gt_sal', 'gt_seg'],
        ['gt_depth'],
        ['gt_depth', 'gt_normals', 'gt_sal', 'gt_seg'],
    ]


def test_pairs_by_name_in_natural_order_and_sub_folders(write_sample, write, build):
    for name in ('10', '9', 'room/1'):
        write_sample(name)
    write('img_dir/train/notes.txt.png', IMAGE)
    write('seg_dir/train/notes.txt.png', CLASSES)
    write('seg_dir/train/._notes.png', CLASSES)
    dataset = build()
    names = [
        Path(dataset.get_data_info(i)['img_path'])
        .relative_to(Path(dataset.data_root, 'img_dir/train'))
        .as_posix()
        for i in range(4)
    ]
    assert names == ['9.png', '10.png', 'notes.txt.png', 'room/1.png']
    assert dataset.problems == {}


def test_every_kind_of_problem_in_one_report(write_sample, write, build, tmp_path):
    write_sample('good')
    write_sample('nothing', seg=None, depth=None, normals=None, sal=None)
    write_sample('gone')
    (tmp_path / 'img_dir/train/gone.png').unlink()
    write_sample('values', seg=CLASSES + 2)
    write_sample('size', depth=DEPTH.T.copy())
    write_sample('two')
    np.save(tmp_path / 'depth_dir/train/two.npy', DEPTH / 1000)
    write_sample('colours', seg=IMAGE)
    write_sample('fractions', seg=CLASSES + 0.5)
    for kind in ('img', 'normals'):
        write_sample(f'cut_{kind}', normals=IMAGE + 1)
        path = tmp_path / f'{kind}_dir/train/cut_{kind}.png'
        path.write_bytes(path.read_bytes()[:60])
    found = problems(build(metainfo=dict(classes=('a', 'b', 'c'))))
    names = {
        title: sorted(Path(line.split(': ')[0].split(',')[0]).stem for line in lines)
        for title, lines in found.items()
    }
    assert names.pop('class count') == ['3 in the data set (a']
    assert names == {
        'images without any label: 1': ['nothing'],
        'labels without an image: 4': ['gone'] * 4,
        'names with several files: 1': ['two'],
        'unreadable images: 1': ['cut_img'],
        'unreadable labels: 3': ['colours', 'cut_normals', 'fractions'],
        'labels of another size than their image: 1': ['size'],
        'labels with values that their task does not have: 1': ['values'],
    }
    assert found['labels of another size than their image: 1'][0].endswith(
        'size.png: 6 x 8, its image 8 x 6'
    )
    assert 'got an array of 6 x 8 x 3, expected height x width x 1' in ' '.join(
        found['unreadable labels: 3']
    )


def test_labels_without_a_valid_pixel_count_as_none(write_sample, build, scope, monkeypatch):
    """They are named in a warning; the images are trained on with their other labels."""
    write_sample('good')
    write_sample('zero', depth=np.zeros((6, 8), np.uint16))
    write_sample('nan', depth=np.full((6, 8), np.nan))
    write_sample('flat', normals=np.zeros((6, 8, 3)))
    write_sample('void', seg=np.full((6, 8), 255, np.uint8))
    logged = []
    monkeypatch.setattr(
        multi_task, 'print_log', lambda text, logger, level: logged.append((text, level))
    )
    dataset = build(pipeline=PIPELINE)
    check_dataset(dataset)
    ((text, level),) = logged
    assert level == logging.WARNING and text.startswith(
        'MultiTaskDataset: 4 labels have no valid pixel and count as none: '
    )
    assert sorted(Path(path).stem for path in text.split(': ')[2].split(', ')) == [
        'flat',
        'nan',
        'void',
        'zero',
    ]
    for sample in dataset:
        sample = sample['data_samples']
        assert sample.gt_depth.data.isfinite().all()
        assert sample.gt_depth.valid.any() == (Path(sample.img_path).stem not in ('zero', 'nan'))


def test_no_valid_pixel_in_the_whole_set(write_sample, build):
    for name in 'ab':
        write_sample(name, seg=np.full((6, 8), 255, np.uint8))
    assert problems(build()) == {'tasks without one valid pixel in all their labels: 1': ['seg']}
    write_sample('c')
    check_dataset(build())


def test_tasks_of_the_model(write_sample, build, scope):
    write_sample('a')
    model = {task['name']: task for task in TASKS}
    check_dataset(build(), tasks={name: TASK_KINDS.build(task) for name, task in model.items()})
    model |= dict(seg=TASKS[0] | dict(num_classes=9), sal=dict(type='Edges', name='sal'))
    assert problems(
        build(), tasks={name: TASK_KINDS.build(task) for name, task in model.items()}
    ) == {
        'tasks that are others in the model: 2': [
            "SemanticSegmentation 'seg' of 4 channels in the data set, SemanticSegmentation 'seg' "
            'of 9 in the model',
            "Saliency 'sal' of 1 channels in the data set, Edges 'sal' of 1 in the model",
        ]
    }
    both = DATASETS.build(
        dict(
            type='ConcatDataset',
            datasets=[
                dict(type='MultiTaskDataset', data_root=build().data_root, tasks=[task])
                for task in TASKS[:2]
            ],
        )
    )
    tasks = {task['name']: TASK_KINDS.build(task) for task in TASKS}
    check_dataset(both, tasks={name: tasks[name] for name in ('seg', 'depth')})
    with pytest.raises(
        DatasetError,
        match="model that the data does not have: SurfaceNormals 'normals', Saliency 'sal'",
    ):
        check_dataset(both, tasks=tasks)


def test_wrapped_sets(write_sample, build, scope):
    write_sample('a', seg=CLASSES + 1)
    wrapped = DATASETS.build(
        dict(
            type='RepeatDataset',
            dataset=dict(type='MultiTaskDataset', tasks=TASKS, data_root=build().data_root),
            times=2,
        )
    )
    assert list(problems(wrapped)) == ['labels with values that their task does not have: 1']


def test_a_task_without_labels_anywhere(write_sample, build, tmp_path):
    write_sample('a', depth=None)
    expected = (
        r"(?s)no labels of Depth 'depth'.*depth_dir/train: "
        r'no such folder.*\.png \.npy.*correct data_root, split and t'
    )
    with pytest.raises(DatasetError, match=expected):
        build()
    (tmp_path / 'depth_dir/train').mkdir(parents=True)
    (tmp_path / 'depth_dir/train/a.exr').touch()
    with pytest.raises(DatasetError, match='depth_dir/train: no such file in it'):
        build()


def test_no_images(build):
    with pytest.raises(
        DatasetError, match=r'(?s)no images.*img_dir/val: no such folder.*correct data_root, split$'
    ):
        build(split='val')


@pytest.mark.parametrize(
    'tasks, message',
    [
        ([], 'expected at least one'),
        ([TASKS[1], TASKS[1]], 'each only once'),
        (
            [dict(type='Depth', name='depth_map')],
            'got a task named depth_map, which MMSegmentation uses',
        ),
        (
            [dict(type='SurfaceNormals', name='img')],
            "got SurfaceNormals 'img', whose labels would be the images in img_dir",
        ),
    ],
)
def test_tasks_that_cannot_be(write_sample, build, tasks, message):
    write_sample('a')
    with pytest.raises(ValueError, match=message):
        build(tasks=tasks)


@pytest.mark.parametrize(
    'changed, message',
    [
        (dict(seg=CLASSES + 2), r"label .*seg_dir/train/a.png of the task 'seg': .*\[4, 5\]"),
        (
            dict(depth=DEPTH.T.copy()),
            r"depth_dir/train/a.png of the task 'depth': got 6 x 8 pixels, expected 8 x 6 as in "
            r'.*a.png',
        ),
        (dict(depth=-np.ones((6, 8))), r"depth_dir/train/a.npy of the task 'depth': .*negative"),
        (
            dict(normals=IMAGE[..., 0] * 1.0),
            r'normals_dir/train/a.npy .*got an array of 6 x 8, expected height x width x 3',
        ),
    ],
)
def test_loading_names_the_file(write_sample, build, scope, changed, message):
    write_sample('a', **changed)
    with pytest.raises(ValueError, match=message):
        build(pipeline=PIPELINE)[0]


def test_survives_pickling(write_sample, build, scope):
    write_sample('a')
    again = pickle.loads(pickle.dumps(build(pipeline=PIPELINE)))
    assert again[0]['data_samples'].gt_depth.data.shape == (1, 6, 8)


def test_what_no_person_put_there_is_no_data(write_sample, write, build, tmp_path):
    write_sample('cafe\u0301 1')
    (tmp_path / 'img_dir/train/cafe\u0301 1.png').rename(tmp_path / 'img_dir/train/caf\u00e9 1.png')
    for name in ('._a.png', '.ipynb_checkpoints/a-checkpoint.png', '__MACOSX/a.png'):
        write(f'img_dir/train/{name}', IMAGE)
        write(f'seg_dir/train/{name}', CLASSES)
    (tmp_path / 'seg_dir/train/folder.png').mkdir()
    (tmp_path / 'img_dir/train/loop').symlink_to(tmp_path / 'img_dir')
    dataset = build()
    assert len(dataset) == 1 and dataset.problems == {}
    assert len(dataset.get_data_info(0)['label_paths']) == 4
    check_dataset(dataset)


@pytest.mark.parametrize('turn', range(2, 9))
def test_labels_are_upright_like_their_image(write, build, scope, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    write('img_dir/train/a.png', np.repeat(CLASSES[..., None], 3, 2), exif=exif)
    write('seg_dir/train/a.png', CLASSES, exif=exif)
    write('depth_dir/train/a.png', CLASSES.astype(np.uint16) + 1, exif=exif)
    dataset = build(tasks=TASKS[:2], pipeline=PIPELINE)
    check_dataset(dataset)
    sample = dataset[0]
    image = sample['inputs'].numpy()[0]
    assert image.shape == ((8, 6) if turn > 4 else (6, 8)) and not np.array_equal(image, CLASSES)
    np.testing.assert_array_equal(sample['data_samples'].gt_seg.data[0], image)
    np.testing.assert_allclose(
        sample['data_samples'].gt_depth.data[0], (image + 1.0) / 1000, rtol=1e-6
    )


def test_compressed_labels(write_sample, write, build):
    """A saliency map may be a JPEG, class numbers and depth may not."""
    write_sample('a', seg=None, depth=None, sal=None)
    large = np.kron(CLASSES // 2 * 255, np.ones((20, 20), np.uint8))
    for name in ('seg', 'depth', 'sal'):
        write(f'{name}_dir/train/a.jpg', large)
    dataset = build()
    got = problems(dataset)['unreadable labels: 2']
    assert all('got a JPEG, whose compression changes values' in line for line in got)
    assert ['seg_dir' in got[0], 'depth_dir' in got[1]] == [True, True]
    saliency = next(task for task in dataset.tasks if task.name == 'sal')
    path = dataset.get_data_info(0)['label_paths']['sal']
    np.testing.assert_array_equal(dataset.read_label(saliency, path)[..., 0], large // 255)


@pytest.mark.parametrize(
    'changed, line',
    [
        (dict(seg=CLASSES * 0), "all labels of the task 'seg': 0 (48 pixels)"),
        (dict(sal=CLASSES * 0), "all labels of the task 'sal': 0 (48 pixels)"),
        (dict(sal=CLASSES * 0 + 255), "all labels of the task 'sal': 1 (48 pixels)"),
    ],
)
def test_one_class_that_holds_all_pixels(write_sample, build, changed, line):
    write_sample('a', **changed)
    assert problems(build()) == {'only one class is seen, or none': [line]}
    write_sample('b', split='val')
    both = [build(), build(split='val')]
    check_dataset(ConcatDataset(both))
    write_sample('b', split='val', depth=DEPTH * 0)
    check_dataset(ConcatDataset(both))  # the parts count together
    if line.endswith(': 0 (48 pixels)'):
        check_dataset(build(), training=False)


@pytest.mark.parametrize(
    'label, message',
    [
        (np.where(CLASSES == 0, 255, CLASSES // 2).astype(np.uint8), 'got the values 0, 1 and 255'),
        (CLASSES // 2 * 100, 'got only the values 0 and 100'),
        (CLASSES // 2 + 1, 'got only the values 1 and 2'),
    ],
)
def test_masks_that_can_mean_two_things(write_sample, build, label, message):
    write_sample('a')
    write_sample('b', sal=label)
    assert message in problems(build())['unreadable labels: 1'][0]
