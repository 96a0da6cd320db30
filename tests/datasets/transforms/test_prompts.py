"""Objects and prompts drawn from masks."""

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from mmsam_peft.datasets import FolderDataset
from mmsam_peft.datasets.feature_cache import seeded
from mmsam_peft.datasets.transforms import (
    LoadMask,
    PackSegInputs,
    RandomAffine,
    Resize,
    SamplePrompts,
)
from mmsam_peft.datasets.transforms.prompts import box_of, moved_box
from mmsam_peft.registry import TRANSFORMS


def sample(mask: np.ndarray, **more) -> dict:
    return dict(
        img=np.zeros((*mask.shape, 3), np.uint8), gt_seg_map=mask, seg_fields=['gt_seg_map'], **more
    )


@pytest.fixture
def squares() -> np.ndarray:
    """Six squares of 10 x 10, one of 3 x 3, and an ignored strip through the first row of them."""
    mask = np.zeros((100, 120), np.uint8)
    for row in (10, 60):
        for column in (10, 50, 90):
            mask[row : row + 10, column : column + 10] = 1
    mask[90:93, 5:8] = 1
    mask[12] = 255
    return mask


def test_prompts_belong_to_their_objects(squares):
    drawn = SamplePrompts(objects=20, least=16)(sample(squares))
    objects, prompts = drawn['gt_objects'], drawn['prompts']
    assert objects.max() == len(prompts['points']) == len(prompts['boxes']) == 9, (
        'the strip cuts three squares into two, of 20 and 70 pixels; 9 pixels are no object'
    )
    assert (squares[objects > 0] == 1).all()
    for number, ((x, y), box) in enumerate(
        zip(prompts['points'], prompts['boxes'], strict=True), start=1
    ):
        assert objects[y, x] == number
        true = box_of(objects == number)
        assert np.abs(np.array(box) - true).max() < 5


def test_no_more_than_so_many_and_each_as_likely(squares):
    counts = np.zeros(9)
    for seed in range(600):
        with seeded(seed):
            drawn = SamplePrompts(objects=3)(sample(squares))
        assert drawn['gt_objects'].max() == 3
        rows, columns = (np.flatnonzero((drawn['gt_objects'] == 1).any(axis)) for axis in (1, 0))
        counts[3 * [10, 13, 60].index(rows[0]) + [10, 50, 90].index(columns[0])] += 1
    assert counts.min() > 40 and counts.max() < 100, '67 expected'


def test_shares_and_evenness(squares):
    mask = np.zeros_like(squares)
    mask[30:40, 20:40] = 1
    by_box, points, seeds = 0, [], set()
    for seed in range(2000):
        with seeded(seed):
            prompts = SamplePrompts(box=0.7)(sample(mask))['prompts']
        by_box += prompts['by_box'][0]
        points.append(prompts['points'][0])
        seeds.add(prompts['seed'])
    assert by_box / 2000 == pytest.approx(0.7, abs=0.04)
    assert len(seeds) == 2000
    x, y = np.array(points).T
    assert np.bincount(x, minlength=120)[20:40].min() > 60 and len(np.unique(y)) == 10


def test_jitter_is_that_of_sam():
    rng, box = np.random.default_rng(0), np.array([300.0, 400, 339, 999])
    moved = np.array([moved_box(box, (2000, 2000), rng) for _ in range(4000)]) - box
    assert np.abs(moved).max() <= 20
    assert moved[:, [0, 2]].std() == pytest.approx(4, rel=0.05), 'a tenth of 40 pixels'
    assert (np.abs(moved[:, [1, 3]]) == 20).mean() == pytest.approx(0.739, abs=0.03), (
        'of noise of 60 pixels so much is beyond 20'
    )


@pytest.mark.parametrize('place', [(0, 0), (0, 29), (19, 0), (19, 29), (10, 15)])
def test_boxes_stay_inside_and_have_an_area(place):
    mask, rng = np.zeros((20, 30), bool), np.random.default_rng(1)
    mask[place] = True
    for _ in range(50):
        x0, y0, x1, y1 = moved_box(box_of(mask), mask.shape, rng)
        assert 0 <= x0 < x1 <= 29 and 0 <= y0 < y1 <= 19
        assert min(x1 - x0, y1 - y0) > 0.99


def test_the_seed_alone_decides(squares):
    def draw(seed):
        with seeded(seed):
            return SamplePrompts()(sample(squares.copy()))

    one, again, other = draw(3), draw(3), draw(4)
    assert one['prompts'] == again['prompts'] != other['prompts']
    assert (one['gt_objects'] == again['gt_objects']).all()


def test_an_empty_mask_has_no_prompts():
    drawn = SamplePrompts()(sample(np.zeros((8, 8), np.uint8)))
    assert drawn['prompts']['boxes'] == [] and not drawn['gt_objects'].any()


def test_objects_that_touch_are_told_apart_by_their_map(squares):
    mask = np.zeros((40, 40), np.uint8)
    mask[:20] = 1
    mask[0] = 255
    instances = np.zeros((40, 40), np.int32)
    instances[:, :10], instances[:, 10:30] = 700, 3
    fields = dict(gt_instance_map=instances)
    drawn = SamplePrompts(least=2)(sample(mask, **fields))['gt_objects']
    assert {int((drawn == number).sum()) for number in (1, 2)} == {19 * 10, 19 * 20}
    assert drawn.max() == 2


def test_maps_of_objects_move_with_their_masks():
    mask = np.zeros((60, 60), np.uint8)
    mask[10:40, 10:50] = 1
    instances = np.where(mask, 1 + (np.arange(60) >= 30), 0).astype(np.int32) * 300
    results = sample(mask, gt_instance_map=instances)
    results['seg_fields'].append('gt_instance_map')
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        flip = TRANSFORMS.build(dict(type='RandomFlip', prob=1.0))
    moved = Compose([Resize(scale=(90, 90)), RandomAffine((0.5, 0.5), 30), flip])(results)
    mask, instances = moved['gt_seg_map'], moved['gt_instance_map']
    assert mask.shape == instances.shape == (90, 90)
    assert ((instances > 255) == (mask == 1)).all() and (mask == 1).any()
    left, right = (np.argwhere(instances == number)[:, 1].mean() for number in (300, 600))
    assert left > right, 'flipped'
    moved = SamplePrompts()(moved)
    assert len(moved['prompts']['boxes']) == 2, 'ignored pixels of the map are no object'


def test_packed_as_models_take_them(squares):
    packed = PackSegInputs()(SamplePrompts()(sample(squares)))['data_samples']
    assert packed.gt_objects.data.dtype == torch.uint8
    assert packed.gt_objects.shape == (100, 120) and len(packed.prompts['boxes']) == 4
    fields = dict(gt_instance_map=np.ones((100, 120), np.int32)[:, ::-1])
    assert PackSegInputs()(sample(squares, **fields))['data_samples'].gt_instances.shape


def test_what_cannot_be_drawn_from(squares):
    with pytest.raises(ValueError, match='got the class 7, .* masks of one class'):
        SamplePrompts()(sample(np.full((4, 4), 7, np.uint8)))
    drawn = SamplePrompts()(sample(squares))
    drawn['gt_seg_map'] = drawn['gt_seg_map'][::-1]
    with pytest.raises(ValueError, match='right before PackSegInputs'):
        PackSegInputs()(drawn)
    for wrong in (dict(box=1.1), dict(objects=0), dict(least=0)):
        with pytest.raises(ValueError, match='SamplePrompts got'):
            SamplePrompts(**wrong)


def test_a_folder_of_maps_of_objects(tmp_path):
    """In 16 bits, beside masks in a folder of their own; one that is missing or of another size is
    found before training."""
    for folder in ('images', 'masks/a', 'objects/a'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'images/a').mkdir()
    numbers = np.zeros((8, 9), np.uint16)
    numbers[:, :4], numbers[:, 5:] = 300, 70
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / 'images/a/1.png')
    Image.fromarray((numbers > 0).astype(np.uint8)).save(tmp_path / 'masks/a/1.png')
    dataset = FolderDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='masks', instance_path='objects'),
        metainfo=dict(classes=('background', 'object')),
        pipeline=[],
    )
    load = LoadMask()
    with pytest.raises(ValueError, match='map of objects .*1.png: there is no such file'):
        load(dataset.get_data_info(0))
    Image.fromarray(numbers).save(tmp_path / 'objects/a/1.png')
    assert (load(dataset.get_data_info(0))['gt_instance_map'] == numbers).all()
    Image.fromarray(numbers[:4]).save(tmp_path / 'objects/a/1.png')
    with pytest.raises(ValueError, match='the map of its objects has'):
        load(dataset.get_data_info(0))
