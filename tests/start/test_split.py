from pathlib import Path

import numpy as np
import pytest

from mmsam_peft.datasets import DatasetError
from mmsam_peft.datasets.survey.duplicates import same_content
from mmsam_peft.datasets.survey.objects import MaskFacts
from mmsam_peft.datasets.survey.pairs import Pair
from mmsam_peft.start.split import prefix_of, split

ROOT = Path('/data')


def pairs(names, split=None):
    return [Pair(ROOT / f'{name}.png', Path('mask'), split) for name in names]


def numbers(parts):
    return {part: len(same) for part, same in parts.items()}


def facts_of(pairs, rare=()):
    """Each image shows class 1, more of it the later it comes; those in ``rare`` also class 2."""
    facts = {}
    for i, pair in enumerate(pairs):
        counts = np.zeros(256, np.int64)
        counts[:3] = 1000, i, 5 * (i in rare)
        facts[pair.image] = MaskFacts(counts, np.zeros((0, 3)), (10, 10))
    return facts


def test_every_part_gets_of_everything():
    """40 images, of which 6 show the rare class: each part has some, and as much to see."""
    images = pairs(f'{i:02d}' for i in range(40))
    facts = facts_of(images, rare=(0, 7, 13, 21, 30, 39))
    parts = split(images, facts)
    assert numbers(parts) == dict(train=28, val=6, test=6)
    assert sorted(pair.image for same in parts.values() for pair in same) == [
        p.image for p in images
    ]
    for same in parts.values():
        seen = [facts[pair.image].pixels for pair in same]
        assert any(counts[2] for counts in seen)
        assert np.mean([counts[1] for counts in seen]) == pytest.approx(19.5, abs=5)


def test_the_seed_decides():
    images = pairs(map(str, range(20)))
    assert split(images, {}, seed=1) == split(images, {}, seed=1) != split(images, {}, seed=2)


@pytest.mark.parametrize(
    'number, expected',
    [(2, dict(train=1, val=1)), (4, dict(train=3, val=1)), (5, dict(train=3, val=1, test=1))],
)
def test_few_images(number, expected):
    assert numbers(split(pairs(map(str, range(number))), {})) == expected


def test_one_image_is_too_few():
    with pytest.raises(DatasetError, match='expected at least 2, for train, val'):
        split(pairs('a'), {})


def test_folders_stay():
    images = pairs(['a', 'b', 'c'], 'train') + pairs('de', 'test')
    parts = split(images, {})
    assert numbers(parts) == dict(train=2, val=1, test=2)
    assert [pair.image.stem for pair in parts['test']] == ['d', 'e']
    images = pairs(['a', 'b'], 'train') + pairs('c', 'val')
    assert numbers(split(images, {})) == dict(train=2, val=1)


@pytest.mark.parametrize('letters', [0, 2])
def test_groups_stay_together(letters):
    images = pairs(f'p{patient}_slice{i:02d}' for patient in range(8) for i in range(5))
    parts = split(images, {}, group_of=prefix_of(letters, ROOT))
    patients = [{pair.image.name[:2] for pair in same} for same in parts.values()]
    assert all(patients) and sum(map(len, patients)) == 8
    with pytest.raises(DatasetError, match='40 images in 1 groups'):
        split(images, {}, group_of=prefix_of(1, ROOT))


def test_copies_stay_together(tmp_path):
    """Three of ten files are the same image under other names, two of them in one group."""
    for i in range(10):
        (tmp_path / f'{i}.png').write_bytes(b'same' if i in (2, 5, 9) else b'own%d' % i)
    paths = sorted(tmp_path.iterdir())
    copies = same_content(paths)
    assert [[path.stem for path in same] for same in copies] == [['2', '5', '9']]
    for seed in range(5):
        parts = split([Pair(path) for path in paths], {}, seed=seed, copies=copies)
        places = [{pair.image for pair in same} & set(copies[0]) for same in parts.values()]
        assert sorted(map(len, places)) == [0, 0, 3]
