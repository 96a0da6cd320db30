"""Published layouts, and the base configs on them."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from scipy.io import savemat

from mmsam_peft.datasets import (
    CityScapesMTANDataset,
    DatasetError,
    MultiTaskQuickstartDataset,
    NYUv2Dataset,
    PASCALMTDataset,
    check_dataset,
    pascal_mt,
)
from mmsam_peft.datasets.labels import encode_normals
from mmsam_peft.registry import DATASETS, METRICS

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/datasets'
SEG, DEPTH, NORMALS = (
    dict(type='SemanticSegmentation', name='seg', num_classes=13),
    dict(type='Depth', name='depth'),
    dict(type='SurfaceNormals', name='normals'),
)
PIPELINE = [
    dict(type='LoadImageOrArray'),
    dict(type='LoadMultiTaskLabels'),
    dict(type='PackMultiTaskInputs'),
]
RNG = np.random.default_rng(0)
H, W = 18, 24
IMAGE = RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
DEPTHS = RNG.uniform(1, 9, (H, W))
DEPTHS[0] = 0
UNIT = np.array([0.6, 0, 0.8])


@pytest.fixture
def put(tmp_path):
    """``put('train/depth/0.npy', array)`` writes an image, an array or the variables of a MATLAB
    file below the data root."""

    def save(name: str, value: np.ndarray | dict) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == '.npy':
            np.save(path, value)
        elif path.suffix == '.mat':
            savemat(path, value)
        else:
            Image.fromarray(value).save(path)

    return save


def numbers(classes: int) -> np.ndarray:
    """All class numbers, and -1 in the first row."""
    label = np.arange(H * W).reshape(H, W) % classes
    label[0] = -1
    return label


@pytest.fixture
def mtan(put):
    def write(
        split: str,
        count: int,
        classes: int,
        label: str,
        depth_shape=(H, W, 1),
        normals: bool = True,
    ) -> None:
        for i in range(count):
            put(f'{split}/image/{i}.npy', IMAGE / 255)
            put(f'{split}/{label}/{i}.npy', numbers(classes).astype(float))
            put(
                f'{split}/depth/{i}.npy',
                DEPTHS.reshape(depth_shape) + i * (DEPTHS.reshape(depth_shape) > 0),
            )
            if normals:
                put(f'{split}/normal/{i}.npy', np.broadcast_to(UNIT, (H, W, 3)))

    return write


def fields(dataset, index: int = 0) -> dict:
    sample = dataset[index]['data_samples']
    return {key: sample.get(key) for key in sample.keys()}


def check_labels(found: dict, classes: int, quantised: bool = False) -> None:
    expected = np.where(numbers(classes) < 0, 255, numbers(classes))
    np.testing.assert_array_equal(found['gt_seg'].data[0], expected)
    np.testing.assert_array_equal(found['gt_seg'].valid[0], expected < 255)
    np.testing.assert_allclose(found['gt_depth'].data[0], DEPTHS, atol=0.001 if quantised else 1e-6)
    np.testing.assert_array_equal(found['gt_depth'].valid[0], DEPTHS > 0)
    if 'gt_normals' in found:
        np.testing.assert_allclose(
            found['gt_normals'].data,
            np.broadcast_to(UNIT[:, None, None], (3, H, W)),
            atol=0.01 if quantised else 1e-6,
        )


@pytest.mark.parametrize('depth_shape', [(H, W, 1), (1, H, W), (H, W)])
def test_nyuv2_of_mtan(mtan, scope, tmp_path, depth_shape):
    mtan('train', 12, 13, 'label', depth_shape)
    mtan('val', 2, 13, 'label', depth_shape)
    dataset = NYUv2Dataset([SEG, DEPTH, NORMALS], data_root=str(tmp_path), pipeline=PIPELINE)
    check_dataset(dataset)
    check_labels(fields(dataset), 13)
    depths = [fields(dataset, i)['gt_depth'].data[0, 1, 1].item() - DEPTHS[1, 1] for i in range(12)]
    np.testing.assert_allclose(
        depths, range(12), atol=1e-5, err_msg='in the order of their numbers'
    )
    np.testing.assert_allclose(
        dataset[0]['inputs'].numpy()[::-1].transpose(1, 2, 0), IMAGE, atol=1e-4
    )
    assert len(NYUv2Dataset([SEG], split='val', data_root=str(tmp_path))) == 2
    assert dataset.metainfo['classes'][0] == 'bed' and len(dataset.metainfo['classes']) == 13


def nyud_mt_old(put, name: str) -> None:
    put(f'segmentation/{name}.mat', dict(segmentation=(numbers(40) + 1).astype(np.uint8)))
    put(f'depth/{name}.mat', dict(depth=DEPTHS))
    put(f'normals/{name}.jpg', np.broadcast_to(encode_normals(UNIT), (H, W, 3)).copy())
    put(f'edge/{name}.png', np.eye(H, W, dtype=np.uint8) * 255)


def nyud_mt_new(put, name: str) -> None:
    put(f'segmentation/{name}.png', (numbers(40) + 1).astype(np.uint8))
    put(f'depth/{name}.npy', DEPTHS.astype(np.float32))
    put(f'normals/{name}.npy', np.broadcast_to(UNIT, (H, W, 3)).astype(np.float32))
    put(f'edge/{name}.npy', np.eye(H, W))


@pytest.mark.parametrize('write', [nyud_mt_old, nyud_mt_new])
def test_nyud_mt(put, write, scope, tmp_path):
    for name in ('a', 'b', 'c'):
        put(f'images/{name}.jpg', IMAGE)
        write(put, name)
    (tmp_path / 'gt_sets').mkdir()
    (tmp_path / 'gt_sets/train.txt').write_text('c\na\n')
    (tmp_path / 'gt_sets/val.txt').write_text('b\ngone\n')
    tasks = [SEG | dict(num_classes=40), DEPTH, NORMALS, dict(type='Edges', name='edges')]
    settings = dict(layout='nyud_mt', data_root=str(tmp_path), pipeline=PIPELINE)
    dataset = NYUv2Dataset(tasks, **settings)
    check_dataset(dataset)
    assert [Path(dataset.get_data_info(i)['img_path']).stem for i in range(2)] == ['c', 'a']
    check_labels(fields(dataset), 40, quantised=True)
    np.testing.assert_array_equal(fields(dataset)['gt_edges'].data[0], np.eye(H, W))
    with pytest.raises(DatasetError, match='(?s)names without an image: 1.*gone of .*val.txt'):
        check_dataset(NYUv2Dataset(tasks, split='val', **settings))
    with pytest.raises(
        DatasetError, match="(?s)class count.*40 in the data set .*, 13 in the task 'seg'"
    ):
        check_dataset(NYUv2Dataset([SEG], **settings))


def test_nyuv2_in_folders(put, scope, tmp_path):
    put('img_dir/test/0001.jpg', IMAGE)
    put('ann_dir/test/0001.png', np.where(numbers(13) < 0, 255, numbers(13)).astype(np.uint8))
    put('depth_dir/test/0001.png', np.rint(DEPTHS * 1000).astype(np.uint16))
    settings = dict(layout='folder', split='test', data_root=str(tmp_path), pipeline=PIPELINE)
    with pytest.raises(DatasetError, match="no labels of SurfaceNormals 'normals'"):
        NYUv2Dataset([SEG, DEPTH, NORMALS], **settings)
    put('normals_dir/test/0001.png', np.broadcast_to(encode_normals(UNIT), (H, W, 3)).copy())
    dataset = NYUv2Dataset([SEG, DEPTH, NORMALS], **settings)
    check_dataset(dataset)
    check_labels(fields(dataset), 13, quantised=True)


def test_what_nyuv2_has_not(mtan, tmp_path):
    mtan('train', 1, 13, 'label')
    with pytest.raises(
        ValueError,
        match="got InverseDepth 'depth', but NYUv2Dataset has labels for SemanticSegmentation, Dep",
    ):
        NYUv2Dataset([dict(type='InverseDepth', name='depth')], data_root=str(tmp_path))
    with pytest.raises(
        ValueError, match=r"got layout='other', expected one of \['mtan', 'nyud_mt', 'folder'\]"
    ):
        NYUv2Dataset([SEG], layout='other', data_root=str(tmp_path))


@pytest.mark.parametrize('label', ['label_7', 'label'])
def test_cityscapes(mtan, scope, tmp_path, label):
    mtan('train', 2, 7, label, normals=False)
    tasks = [SEG | dict(num_classes=7), dict(type='InverseDepth', name='depth')]
    dataset = CityScapesMTANDataset(tasks, data_root=str(tmp_path), pipeline=PIPELINE)
    check_dataset(dataset)
    check_labels(fields(dataset), 7)
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == 7


PARTS = dict(head=1, torso=2, luarm=3, rlarm=4, lhand=4, luleg=5, rfoot=6, neck=2, hair=1, llleg=6)


def structs(*records: dict) -> np.ndarray:
    """MATLAB's 1 x n structure array."""
    array = np.zeros((1, len(records)), [(key, object) for key in records[0]])
    for i, record in enumerate(records):
        array[0, i] = tuple(record.values())
    return array


def annotation(people: int) -> dict:
    """PASCAL-Part: a dog with a part, ``people`` persons with one part each on rows of their own,
    and one person without."""

    def thing(name: str, number: int, parts: np.ndarray) -> dict:
        return {
            'class': name,
            'class_ind': number,
            'mask': np.ones((H, W), np.uint8),
            'parts': parts,
        }

    def part(name: str, row: int) -> np.ndarray:
        mask = np.zeros((H, W), np.uint8)
        mask[row] = 1
        return structs(dict(part_name=name, mask=mask))

    persons = [
        thing('person', 15, part(name, row)) for row, name in list(enumerate(PARTS))[:people]
    ]
    objects = structs(
        thing('dog', 12, part('muzzle', 17)), *persons, thing('person', 15, np.zeros((0, 0)))
    )
    return dict(anno=structs(dict(imname='a', objects=objects)))


@pytest.fixture
def pascal(put, tmp_path):
    """Three images of 'train'; classes of PASCAL-Context: 440 (wall), but 2 (aeroplane) in the
    right half."""
    context = np.where(np.arange(W) < W // 2, 440, 2) * np.ones((H, 1), int)
    for i, name in enumerate(('2008_000002', '2008_000003', '2008_000004')):
        put(f'JPEGImages/{name}.jpg', IMAGE)
        put(
            f'semseg/{"VOC12" if i else "pascal-context"}/{name}.png',
            (np.arange(H * W).reshape(H, W) % 21).astype(np.uint8),
        )
        put(f'human_parts/{name}.mat', annotation(people=0 if i == 1 else len(PARTS)))
        put(f'normals_distill/{name}.png', np.broadcast_to(encode_normals(UNIT), (H, W, 3)).copy())
        put(f'sal_distill/{name}.png', np.eye(H, W, dtype=np.uint8) * 200)
        put(
            f'pascal-context/trainval/{name}.mat',
            dict(LabelMap=(context if i < 2 else np.full((H, W), 2)).astype(np.uint16)),
        )
    put('semseg/pascal-context/2008_000003.png', np.full((H, W), 77, np.uint8))
    (tmp_path / 'ImageSets/Context').mkdir(parents=True)
    for split in ('train', 'val'):
        (tmp_path / f'ImageSets/Context/{split}.txt').write_text(
            '2008_000002\n2008_000003\n2008_000004\n'
        )


def test_pascal_context(pascal, scope, tmp_path):
    tasks = [
        SEG | dict(num_classes=21),
        dict(type='HumanParts', name='parts'),
        NORMALS,
        dict(type='Saliency', name='sal'),
        dict(type='Edges', name='edges'),
    ]
    dataset = PASCALMTDataset(tasks, data_root=str(tmp_path), pipeline=PIPELINE)
    check_dataset(dataset)
    first, second, third = (fields(dataset, i) for i in range(3))
    assert sorted(first) == ['gt_edges', 'gt_normals', 'gt_parts', 'gt_sal', 'gt_seg']
    assert 'gt_parts' not in second and 'gt_normals' in second, 'nobody there'
    assert 'gt_normals' not in third and 'gt_parts' in third, 'no class whose normals are known'
    for found in (first, second, third):
        np.testing.assert_array_equal(found['gt_seg'].data[0], np.arange(H * W).reshape(H, W) % 21)
    expected = np.zeros((H, W))
    expected[: len(PARTS)] = np.array(list(PARTS.values()))[:, None]
    np.testing.assert_array_equal(first['gt_parts'].data[0], expected)
    left = np.arange(W) < W // 2
    np.testing.assert_array_equal(first['gt_normals'].valid[0], np.broadcast_to(left, (H, W)))
    expected = np.where(left, UNIT[:, None, None], 0) * np.ones((H, 1))
    np.testing.assert_allclose(first['gt_normals'].data, expected, atol=0.01)
    np.testing.assert_array_equal(first['gt_sal'].data[0], np.eye(H, W))
    np.testing.assert_array_equal(
        first['gt_edges'].data[0], np.broadcast_to(np.arange(W) == W // 2 - 1, (H, W))
    )
    assert not third['gt_edges'].data.any()


def test_pascal_context_parts_and_classes():
    """All of PASCAL-Part's parts of a person, in the grouping of six; classes with normals as the
    two sets' names give them."""
    groups = {
        number: {part for part, of in pascal_mt.PARTS.items() if of == number}
        for number in range(1, 7)
    }
    assert len(pascal_mt.PARTS) == 24
    assert groups[2] == {'neck', 'torso'} and groups[4] == {'llarm', 'rlarm', 'lhand', 'rhand'}
    assert groups[6] == {'llleg', 'rlleg', 'lfoot', 'rfoot'} and groups[1] >= {
        'head',
        'hair',
        'lear',
        'nose',
    }
    known = pascal_mt.WITH_NORMALS
    assert len(known) == len(set(known)) == 170 and list(known) == sorted(known)
    some = dict(
        bed=18,
        ceiling=68,
        chair=72,
        floor=158,
        person=284,
        sofa=368,
        table=397,
        tvmonitor=427,
        wall=440,
        window=454,
    )
    assert set(some.values()) <= set(known)
    assert not set(
        dict(aeroplane=2, horse=207, pottedplant=308, sky=360, tree=420, unknown=431).values()
    ) & set(known)


def test_borders_by_loop():
    classes = RNG.integers(0, 3, (7, 9))
    found = pascal_mt._borders(classes)
    for y in range(7):
        for x in range(9):
            right, below = classes[y, min(x + 1, 8)], classes[min(y + 1, 6), x]
            assert found[y, x, 0] == float(classes[y, x] != right or classes[y, x] != below)


def test_quickstart_draws_on_first_use(tmp_path, capsys, scope):
    tasks = [SEG | dict(num_classes=5), DEPTH, NORMALS]
    settings = dict(data_root=str(tmp_path / 'new'), num_images=3, size=64, pipeline=PIPELINE)
    dataset = MultiTaskQuickstartDataset(tasks, lazy_init=True, **settings)
    assert not (tmp_path / 'new').exists()
    dataset.full_init()
    assert 'drawing 3 shapes images' in capsys.readouterr().out
    check_dataset(dataset)
    found = fields(dataset)
    assert found['gt_seg'].data.shape == (1, 64, 64) and all(
        field.valid.all() for field in found.values()
    )
    assert 0.5 < found['gt_depth'].data.min() and found['gt_depth'].data.max() < 15
    np.testing.assert_allclose(np.linalg.norm(found['gt_normals'].data, axis=0), 1, atol=1e-5)
    assert len(MultiTaskQuickstartDataset(tasks, split='val', **settings)) == 3
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == 5
    sizes = [
        MultiTaskQuickstartDataset(tasks, split=split, lazy_init=True).num_images
        for split in ('train', 'val', 'test')
    ]
    assert sizes == [400, 50, 50]
    with pytest.raises(ValueError, match="got split='trian', expected one of"):
        MultiTaskQuickstartDataset(tasks, split='trian')


@pytest.fixture
def custom(put):
    for split in ('train', 'val', 'test'):
        for i in range(4):
            put(f'img_dir/{split}/{i}.jpg', IMAGE)
            put(f'seg_dir/{split}/{i}.png', (numbers(2) > 0).astype(np.uint8))
            put(f'depth_dir/{split}/{i}.png', np.rint(DEPTHS * 1000).astype(np.uint16))
            put(
                f'normals_dir/{split}/{i}.png',
                np.broadcast_to(encode_normals(UNIT), (H, W, 3)).copy(),
            )


def write_nyuv2(request):
    mtan = request.getfixturevalue('mtan')
    mtan('train', 4, 13, 'label')
    mtan('val', 4, 13, 'label')


def write_cityscapes(request):
    mtan = request.getfixturevalue('mtan')
    mtan('train', 4, 7, 'label_7', normals=False)
    mtan('val', 4, 7, 'label_7', normals=False)


WRITERS = dict(
    nyuv2=write_nyuv2,
    cityscapes=write_cityscapes,
    pascal_context=lambda request: request.getfixturevalue('pascal'),
    custom_multitask=lambda request: request.getfixturevalue('custom'),
    quickstart_multitask=lambda request: None,
)


@pytest.mark.parametrize('name', list(WRITERS))
def test_base_config(name, request, scope, tmp_path):
    """Gives batches of its tasks at label size, images with the long side as said, checked by the
    check before training."""
    WRITERS[name](request)
    config = Config.fromfile(CONFIGS / f'{name}.py')
    size = 256 if name == 'quickstart_multitask' else 1024
    for part in ('train', 'val', 'test'):
        loader = config[f'{part}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=str(tmp_path), indices=3)
        if name == 'quickstart_multitask':
            loader.dataset.update(num_images=4)
        dataset = DATASETS.build(loader.dataset)
        check_dataset(dataset)
        assert [task.name for task in dataset.tasks] == [task['name'] for task in config.tasks]
        batch = next(iter(Runner.build_dataloader(loader, seed=0)))
        assert len(batch['inputs']) == (min(4, len(dataset)) if part == 'train' else 1)
        label_size = (128, 128) if name == 'quickstart_multitask' else (H, W)
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
            assert max(image.shape) == size and tuple(sample.ori_shape) == label_size
            assert all(sample.get(key).data.shape[1:] == label_size for key in sample.keys())
            assert 'gt_seg' in sample
    for evaluator in (config.val_evaluator, config.test_evaluator):
        metric = METRICS.build(evaluator)
        assert [task.name for task in metric.tasks] == [task['name'] for task in config.tasks]
    name, score = config.default_hooks.checkpoint.save_best.split('/')
    assert next(task for task in metric.tasks if task.name == name).better[score] == 'higher'
    assert config.default_hooks.checkpoint.rule == 'greater'


def test_two_splits_give_three(put, tmp_path):
    """A part of the training images is held out, unless the test images are validated on; an
    absent set says where it comes from."""
    for split, number in dict(train=10, val=3).items():
        for i in range(number):
            put(f'{split}/image/{i}.npy', IMAGE / 255)
            put(f'{split}/label/{i}.npy', numbers(13).astype(float))

    def names(split: str, share: float) -> set[str]:
        dataset = NYUv2Dataset([SEG], split=split, val_share=share, data_root=str(tmp_path))
        return {
            sample['img_path'].removeprefix(str(tmp_path)) for sample in dataset.load_data_list()
        }

    with pytest.raises(DatasetError, match='docs/prepare_datasets.md'):
        NYUv2Dataset([SEG], data_root=str(tmp_path / 'none'))
    with pytest.raises(DatasetError, match='no file .*gt_sets/train.txt|no images'):
        NYUv2Dataset([SEG], layout='nyud_mt', data_root=str(tmp_path / 'none'))
    train, val, test = (names(split, 0.2) for split in ('train', 'val', 'test'))
    assert len(train) == 8 and len(val) == 2 and not train & val
    assert all('/train/' in name for name in train | val)
    assert len(test) == 3 and test == names('val', 0) == {f'/val/image/{i}.npy' for i in range(3)}
    assert names('train', 0) == train | val
