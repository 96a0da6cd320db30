import io
import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.utils.data import DataLoader

from mmsam_peft.datasets import item_store
from mmsam_peft.datasets.feature_cache import (
    CachedPipeline,
    FeatureStore,
    HalfMap,
    seeded,
)
from mmsam_peft.datasets.item_store import seal

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadMask'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]


@pytest.mark.parametrize('scale', [1, 1e-30, 7e30, 1e5, 3e-4])
def test_rounding_to_16_bit(scale):
    """To the nearest multiple of the last of 11 bits, whatever the range."""
    x = torch.randn(4, 5, 6) * scale
    x[0, 0, 0], x[0, 0, 1] = 0, x.abs().max() * 2.0**-26
    stored = HalfMap.of(x)
    y = stored.restored('cpu')
    assert stored.values.dtype == torch.float16 and 2**14 <= stored.values.abs().max() <= 2**15
    assert y.dtype == torch.float32 and y.isfinite().all() and y[0, 0, 0] == 0
    error, allowed = (y.double() - x.double()).abs(), x.double().abs() * 2.0**-11
    assert (error <= allowed).all() and error.max() > 0


def test_smallest_values_are_off_by_little():
    x = torch.tensor([1.0, 2.0**-38, -3.3 * 2.0**-35, 0])
    error = (HalfMap.of(x).restored('cpu') - x).abs()
    assert (error <= 2.0**-39).all() and error.max() > 0


def test_what_16_bit_hold_is_exact():
    x = torch.randn(3, 3, dtype=torch.bfloat16)
    y = HalfMap.of(x).restored('cpu')
    assert y.dtype == torch.bfloat16 and y.equal(x)
    assert HalfMap.of(torch.zeros(2)).restored('cpu').equal(torch.zeros(2))


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_maps_that_no_training_can_use(value):
    with pytest.raises(
        ValueError, match=f'gives a map with {abs(value)}, .* in float16 use --amp bf16'
    ):
        HalfMap.of(torch.tensor([1.0, value]))


@pytest.fixture
def sample():
    found = SegDataSample(
        metainfo=dict(
            img_path='a.png',
            img_shape=torch.Size((6, 8)),
            flip=True,
            flip_direction=None,
            scale_factor=(np.float64(1.5), np.float32(2)),
            matrix=np.eye(2),
        )
    )
    found.gt_sem_seg = PixelData(data=torch.randint(256, (1, 6, 8)))
    found.gt_other = PixelData(data=torch.randint(-1, 300, (1, 6, 8)))
    found.gt_depth = PixelData(data=torch.rand(1, 6, 8), valid=torch.rand(1, 6, 8) > 0.5)
    return found


@pytest.fixture
def item(sample):
    return HalfMap.of(torch.randn(3, 4, 5)), sample


def test_an_item_comes_back_as_it_was(item, tmp_path):
    x, sample = item
    store = FeatureStore(tmp_path, 1e6)
    store.write('ab', *item)
    y, found = store.read('ab')
    assert y.values.equal(x.values) and (y.exponent, y.dtype) == (x.exponent, x.dtype)
    assert set(found.keys()) == {'gt_sem_seg', 'gt_other', 'gt_depth'}
    for name, field in sample.items():
        assert field.keys() == found.get(name).keys()
        for key, value in field.items():
            other = found.get(name).get(key)
            assert other.dtype == value.dtype and other.equal(value)
    assert found.metainfo == {**sample.metainfo, 'matrix': [[1, 0], [0, 1]]}
    assert type(found.scale_factor[0]) is float


class Hostile:
    def __reduce__(self):
        return os.mkdir, ('ran',)


def foreign(item) -> dict[str, bytes]:
    """Contents whose checksum fits, as those of a foreign or newer program may."""

    def saved(value) -> bytes:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return zlib.compress(buffer.getvalue())

    values = bytes(120)
    head = dict(
        key='cache/ab', meta={}, fields={}, shape=(3, 4, 5), exponent=0, dtype=torch.float32
    )
    return {
        'not compressed': seal(b'label', values),
        'no pickle': seal(zlib.compress(b'label'), values),
        'no label': seal(b'', values),
        'a list': seal(saved([1]), values),
        'no fields': seal(saved({**head, 'fields': None}), values),
        'another shape': seal(saved({**head, 'shape': (3, 4, 6)}), values),
        'an odd byte': seal(saved(head), bytes(121)),
        'half a tensor': seal(saved({**head, 'fields': dict(gt_seg=dict(data=3))}), values),
        'code': seal(saved(Hostile()), values),
        "another item's": FeatureStore(Path('cache'), 0).pack('ac', *item),
        "another model's": FeatureStore(Path('other'), 0).pack('ab', *item),
        'nothing': b'',
    }


def test_a_file_that_cannot_be_used_is_made_again(item, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store, lines = FeatureStore(tmp_path / 'cache', 1e6), []
    monkeypatch.setattr(item_store, 'print_log', lambda text, *args, **kwargs: lines.append(text))
    store.write('ab', *item)
    for name, content in foreign(item).items():
        store.path('ab').write_bytes(content)
        lines.clear()
        assert store.read('ab') is None, name
        assert len(lines) == 1 and 'cannot be used and will be made again' in lines[0], name
        store.write('ab', *item)
        assert store.read('ab')[0].values.equal(item[0].values), name
    assert not (tmp_path / 'ran').exists()


def test_seeded_draws():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    expected = [draw(), draw()]
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    free = draw()
    with seeded(0, 1, 2):
        inside = draw()
    assert [free, draw()] == expected
    others = []
    for numbers in ((0, 1, 2), (0, 2, 1), (1, 1, 2), (0, 1, 3)):
        with seeded(*numbers):
            others.append(draw())
    assert others[0] == inside and len(set(sum(others, ()))) == 12


@pytest.fixture
def cached(scope, write_pair, folder, tmp_path):
    """A set of six random pictures behind a cached pipeline of three views."""
    for name in 'abcdef':
        rng = np.random.default_rng(ord(name))
        write_pair(name, rng.integers(0, 2, (6, 8), dtype=np.uint8))
    dataset = folder(pipeline=PIPELINE)
    dataset.pipeline = CachedPipeline(
        dataset.pipeline, FeatureStore(tmp_path / 'cache', 1e6), 0, 3, torch.tensor(0)
    )
    dataset.pipeline.turn.share_memory_()
    return dataset


def flips(dataset):
    return [dataset[i]['data_samples'].flip for i in range(len(dataset))]


def test_a_view_is_always_the_same(cached):
    """Image and label too; whatever was drawn before. Views differ, as do images."""
    rounds = []
    for turn in range(6):
        cached.pipeline.turn.fill_(turn)
        np.random.seed(turn)
        rounds.append((flips(cached), [cached[i] for i in reversed(range(6))][::-1]))
    for (first, batch), (second, again) in zip(rounds[:3], rounds[3:], strict=True):
        assert first == second
        for one, other in zip(batch, again, strict=True):
            assert one['item'] == other['item'] and one['inputs'].equal(other['inputs'])
            assert one['data_samples'].gt_sem_seg.data.equal(other['data_samples'].gt_sem_seg.data)
    assert len({tuple(first) for first, _ in rounds}) > 1 and len(set(rounds[0][0])) == 2
    assert len({one['item'] for _, batch in rounds for one in batch}) == 18


def test_label_and_map_of_a_stored_view(cached):
    """Nothing is decoded or drawn any more."""
    plain = [cached[i] for i in range(6)]
    for one in plain:
        cached.pipeline.store.write(
            one['item'], HalfMap.of(one['inputs'][None].float()), one['data_samples']
        )
    cached.pipeline.pipeline = None
    for i, one in enumerate(plain):
        stored = cached[i]
        assert stored['inputs'].restored('cpu')[0].equal(one['inputs'].float())
        assert stored['data_samples'].metainfo == one['data_samples'].metainfo
        assert stored['data_samples'].gt_sem_seg.data.equal(one['data_samples'].gt_sem_seg.data)
    cached.pipeline.turn.fill_(1)
    with pytest.raises(TypeError):
        cached[0]  # another view, not stored


@pytest.mark.parametrize('changed', ['img_dir/train/c.png', 'ann_dir/train/c.png'])
def test_files_that_change_give_new_items(cached, tmp_path, changed):
    before = [cached[i]['item'] for i in range(6)]
    status = (tmp_path / changed).stat()
    os.utime(tmp_path / changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = [cached[i]['item'] for i in range(6)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [
        True,
        True,
        False,
        True,
        True,
        True,
    ]
    cached.pipeline.part = 1
    assert not {cached[i]['item'] for i in range(6)} & {*before, *after}


def test_workers_give_what_the_process_itself_gives(cached):
    expected = []
    for turn in range(3):
        cached.pipeline.turn.fill_(turn)
        expected.append([(cached[i]['item'], cached[i]['inputs']) for i in range(6)])
    cached.pipeline.turn.fill_(0)
    loader = DataLoader(
        cached, 2, num_workers=2, persistent_workers=True, collate_fn=pseudo_collate
    )
    for turn in range(3):  # the workers stay the same
        cached.pipeline.turn.fill_(turn)
        found = [
            pair for batch in loader for pair in zip(batch['item'], batch['inputs'], strict=True)
        ]
        for (item, image), (other, expected_image) in zip(found, expected[turn], strict=True):
            assert item == other and image.equal(expected_image)
