"""A stored image is the one that would have been read, or it is read again."""

import errno
import os
from collections.abc import Callable

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from mmsam_peft.datasets import item_store
from mmsam_peft.datasets.image_cache import ImageStore, StoredImages, suits
from mmsam_peft.datasets.pixels import Pixels

LOAD, MASK, RESIZE, FLIP, PACK = (
    dict(type='LoadImageFromFile'),
    dict(type='LoadMask'),
    dict(type='Resize', scale=(24, 16), keep_ratio=False, interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackSegInputs'),
)
TRAIN, TEST = [LOAD, MASK, RESIZE, FLIP, PACK], [LOAD, RESIZE, MASK, PACK]


@pytest.fixture
def sample(tmp_path) -> dict:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / 'a.jpg')
    Image.fromarray(rng.integers(0, 2, (40, 60), dtype=np.uint8)).save(tmp_path / 'a.png')
    return dict(img_path=str(tmp_path / 'a.jpg'), seg_map_path=str(tmp_path / 'a.png'))


@pytest.fixture
def stored(tmp_path) -> Callable[..., StoredImages]:
    def make(steps: list[dict], room: float = 1e9) -> StoredImages:
        with DefaultScope.overwrite_default_scope('mmsam_peft'):
            return StoredImages(Compose(steps), ImageStore(tmp_path / 'cache', room))

    return make


def items(tmp_path) -> list:
    return sorted((tmp_path / 'cache').glob('??/*'))


def same(one: dict, other: dict) -> bool:
    a, b = one['data_samples'], other['data_samples']
    return (
        bool((one['inputs'] == other['inputs']).all())
        and bool((a.gt_sem_seg.data == b.gt_sem_seg.data).all())
        and a.metainfo == b.metainfo
    )


def read_nothing(*args):
    raise AssertionError('an image was read')


@pytest.mark.parametrize(
    'steps',
    [
        TRAIN,
        TEST,
        [LOAD, MASK, dict(RESIZE, keep_ratio=True), FLIP, PACK],
        [LOAD, MASK, dict(type='Resize', scale_factor=0.5), FLIP, PACK],
        [dict(LOAD, pixels=dict(low=10, high=[90, 80, 200])), RESIZE, MASK, PACK],
    ],
    ids=['train', 'test', 'ratio', 'factor', 'pixels'],
)
def test_nothing_differs(stored, sample, steps, monkeypatch):
    pipeline = stored(steps)

    def made(by: Callable, seed: int) -> dict:
        np.random.seed(seed)
        return by(dict(sample))

    plain = [made(pipeline.pipeline, seed) for seed in range(5)]  # flipped and not
    made(pipeline, 0)
    monkeypatch.setattr(type(pipeline.transforms[0]), '_read', read_nothing)
    assert all(same(made(pipeline, seed), one) for seed, one in enumerate(plain))


def test_what_leads_to_another_item(stored, sample):
    for steps in ([LOAD, MASK, FLIP, PACK], [LOAD, FLIP, RESIZE, PACK], [RESIZE, PACK]):
        with DefaultScope.overwrite_default_scope('mmsam_peft'):
            assert not suits(Compose(steps))
    assert suits(stored(TRAIN).pipeline)
    name = stored(TRAIN).name(sample)
    assert name == stored(TEST).name(sample)
    others = [
        dict(RESIZE, scale=(24, 17)),
        dict(RESIZE, interpolation='bilinear'),
        dict(RESIZE, antialias=False),
        dict(RESIZE, keep_ratio=True),
    ]
    names = [stored([LOAD, one, PACK]).name(sample) for one in others]
    for read in (dict(pixels=Pixels(low=0, high=9)), dict(to_float32=True)):
        names.append(stored([dict(LOAD, **read), RESIZE, PACK]).name(sample))
    os.utime(sample['img_path'], (1, 1))
    names.append(stored(TRAIN).name(sample))
    assert len({name, *names}) == 8
    assert stored(TRAIN).name(dict(img_path='s3://bucket/a.jpg')) is None


def test_a_changed_image_is_read_again(stored, sample):
    pipeline = stored(TEST)
    before = pipeline(dict(sample))['inputs']
    Image.fromarray(np.zeros((44, 60, 3), np.uint8)).save(sample['img_path'])
    after = pipeline(dict(sample))
    assert before.any() and not after['inputs'].any()
    assert after['data_samples'].ori_shape == (44, 60)


@pytest.mark.parametrize('damage', [b'', b'short', bytes(2000), None])
def test_a_damaged_or_foreign_item_is_made_again(stored, sample, tmp_path, damage):
    pipeline = stored(TEST)
    right = pipeline(dict(sample))
    (item,) = items(tmp_path)
    content = item.read_bytes()
    if damage is None:  # whole, but of another image
        other = tmp_path / 'b.jpg'
        Image.new('RGB', (60, 40)).save(other)
        pipeline(dict(sample, img_path=str(other)))
        (foreign,) = set(items(tmp_path)) - {item}
        damage = foreign.read_bytes()
    item.write_bytes(damage)
    assert same(pipeline(dict(sample)), right)
    assert item.read_bytes() == content


def test_without_room_and_on_a_full_disk_it_goes_on(stored, sample, tmp_path, monkeypatch):
    right = stored(TEST).pipeline(dict(sample))
    assert same(stored(TEST, room=100)(dict(sample)), right) and not items(tmp_path)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(item_store, 'write_whole', full)
    said = []
    monkeypatch.setattr(item_store, 'print_log', lambda text, *args, **kwargs: said.append(text))
    pipeline = stored(TEST)
    for _ in range(3):
        assert same(pipeline(dict(sample)), right)
    assert len(said) == 1 and 'No more items are stored' in said[0] and 'No space left' in said[0]


def test_a_damaged_image_is_refused_as_without(stored, sample):
    with open(sample['img_path'], 'r+b') as file:
        file.truncate(900)
    for pipeline in (stored(TRAIN), stored(TRAIN).pipeline):
        with pytest.raises(ValueError, match=r'image .*a\.jpg: .*truncated'):
            pipeline(dict(sample))
