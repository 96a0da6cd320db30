import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mmsam_peft.datasets.scenes import draw_objects, draw_roads, generate, generate_scenes

WORLDS = pytest.mark.parametrize(
    'draw, low, high', [(draw_objects, 0.002, 0.8), (draw_roads, 0.02, 0.25)]
)


@pytest.fixture(scope='module')
def roads() -> tuple[np.ndarray, np.ndarray]:
    """24 images (N, H, W, 3) and masks (N, H, W)."""
    images, masks = zip(
        *(draw_roads(np.random.default_rng([0, i])) for i in range(24)), strict=True
    )
    return np.stack(images), np.stack(masks)


def best_iou(score: np.ndarray, mask: np.ndarray) -> float:
    """The best IoU that ``score > t`` or ``score < t`` reaches over 64 thresholds."""
    found = 0.0
    for signed in (score, -score):
        for threshold in np.quantile(signed, np.linspace(0, 1, 64)):
            guess = signed >= threshold
            found = max(found, (guess & mask).sum() / (guess | mask).sum())
    return found


@WORLDS
def test_drawing_depends_on_the_generator_alone(draw, low, high):
    np.random.seed(1)
    first = draw(np.random.default_rng([3, 5]))
    np.random.seed(2)
    again, other = draw(np.random.default_rng([3, 5])), draw(np.random.default_rng([3, 6]))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert np.abs(first[0].astype(int) - other[0]).mean() > 5
    assert (first[1] != other[1]).any()


@WORLDS
def test_images_and_masks_are_well_formed(draw, low, high):
    shares, means = [], []
    for i in range(40):
        image, mask = draw(np.random.default_rng([1, i]))
        assert image.shape == (256, 256, 3) and mask.shape == (256, 256)
        assert image.dtype == mask.dtype == np.uint8
        assert np.unique(mask).tolist() == [0, 1]
        assert image.std() > 5
        shares.append(mask.mean())
        means.append(image.mean())
    assert low < min(shares) and max(shares) < high
    assert 50 < np.mean(means) < 200
    assert np.std(shares) > 0.01 and np.std(means) > 5, 'the images are too much alike'


@WORLDS
def test_a_larger_picture_shows_the_same_share(draw, low, high):
    small, large = (
        [draw(np.random.default_rng([2, i]), size)[1].mean() for i in range(30)]
        for size in (128, 256)
    )
    assert np.mean(small) == pytest.approx(np.mean(large), rel=0.35)


def test_roads_reach_the_border_and_are_thin(roads):
    for mask in roads[1]:
        rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert rim.any()
        assert cv2.distanceTransform(mask, cv2.DIST_L2, 5).max() < 16


def test_no_colour_threshold_finds_roads(roads):
    images, masks = roads
    for code in (cv2.COLOR_RGB2BGR, cv2.COLOR_RGB2HSV, cv2.COLOR_RGB2Lab):
        channels = np.stack([cv2.cvtColor(image, code) for image in images]).reshape(-1, 3)[::7]
        assert max(best_iou(c.astype(float), masks.ravel()[::7] > 0) for c in channels.T) < 0.3


def test_not_even_the_true_colour_of_each_road_finds_it(roads):
    scores = []
    for image, mask in zip(*roads, strict=True):
        lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 1), cv2.COLOR_RGB2Lab).astype(float)
        distance = np.linalg.norm(lab - np.median(lab[mask > 0], axis=0), axis=-1)
        scores.append(best_iou(distance, mask > 0))
    assert np.mean(scores) < 0.4
    assert np.std(scores) > 0.03, 'contrast should vary by image'


def read(root, kind, split):
    flag = cv2.IMREAD_COLOR if kind == 'img_dir' else cv2.IMREAD_UNCHANGED
    return {p.name: cv2.imread(str(p), flag) for p in sorted((root / kind / split).iterdir())}


def record_of(root):
    return json.loads((root / 'scenes.json').read_text())


def test_generated_files_hold_the_drawings(tmp_path, capsys):
    root = tmp_path / 'roads'
    generate_scenes(root, 'roads', dict(train=3, val=2), seed=4, size=64)
    assert 'drawing 3 roads images' in capsys.readouterr().out
    for split, count in dict(train=3, val=2).items():
        images, masks = read(root, 'img_dir', split), read(root, 'ann_dir', split)
        assert list(images) == list(masks) == [f'{i:05d}.png' for i in range(count)]
        for i in range(count):
            image, mask = draw_roads(np.random.default_rng([4, *split.encode(), i]), 64)
            assert (images[f'{i:05d}.png'][..., ::-1] == image).all()
            assert (masks[f'{i:05d}.png'] == mask).all()
    assert (
        read(root, 'img_dir', 'train')['00000.png'] != read(root, 'img_dir', 'val')['00000.png']
    ).any()
    assert record_of(root) == dict(
        version=generate.VERSION, world='roads', seed=4, size=64, splits=dict(train=3, val=2)
    )
    assert sorted(p.name for p in root.iterdir() if p.name != '.lock') == [
        'ann_dir',
        'img_dir',
        'scenes.json',
    ]


def test_complete_data_is_used_as_it_is(tmp_path, capsys):
    generate_scenes(tmp_path, 'objects', dict(train=2), size=64)
    capsys.readouterr()
    before = (tmp_path / 'img_dir/train/00000.png').stat().st_mtime_ns
    generate_scenes(tmp_path, 'objects', dict(train=2), size=64)
    generate_scenes(tmp_path, 'objects', dict(val=1), size=64)
    assert 'img_dir/train' not in capsys.readouterr().out.replace('\\', '/')
    assert (tmp_path / 'img_dir/train/00000.png').stat().st_mtime_ns == before
    assert record_of(tmp_path)['splits'] == dict(train=2, val=1)


def test_another_version_is_drawn_again(tmp_path, monkeypatch):
    generate_scenes(tmp_path, 'roads', dict(train=2, val=1), size=64)
    (tmp_path / 'img_dir/train/00000.png').write_bytes(b'drawn by the old version')
    monkeypatch.setattr(generate, 'VERSION', generate.VERSION + 1)
    generate_scenes(tmp_path, 'roads', dict(train=2), size=64)
    assert read(tmp_path, 'img_dir', 'train')['00000.png'].shape == (64, 64, 3)
    assert record_of(tmp_path)['splits'] == dict(train=2), 'val is still of the old version'


@pytest.mark.parametrize(
    'change', [dict(seed=1), dict(size=32), dict(world='objects'), dict(splits=dict(train=3))]
)
def test_other_settings_are_drawn_again(tmp_path, change):
    usual = dict(world='roads', splits=dict(train=2), seed=0, size=64)
    generate_scenes(tmp_path, **usual)
    before = (tmp_path / 'img_dir/train/00001.png').read_bytes()
    generate_scenes(tmp_path, **(usual | change))
    assert ((tmp_path / 'img_dir/train/00001.png').read_bytes() == before) == ('splits' in change)
    assert (
        len(read(tmp_path, 'img_dir', 'train'))
        == len(read(tmp_path, 'ann_dir', 'train'))
        == change.get('splits', usual['splits'])['train']
    )


def test_an_interrupted_drawing_is_done_again(tmp_path, monkeypatch):
    def interrupted(rng, size):
        if interrupted.left == 0:
            raise KeyboardInterrupt
        interrupted.left -= 1
        return draw_roads(rng, size)

    interrupted.left = 3
    monkeypatch.setitem(generate.WORLDS, 'roads', interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate_scenes(tmp_path, 'roads', dict(train=5), size=64)
    assert not (tmp_path / 'img_dir').exists() and record_of(tmp_path)['splits'] == {}
    interrupted.left = -1
    generate_scenes(tmp_path, 'roads', dict(train=4), size=64)
    assert len(read(tmp_path, 'img_dir', 'train')) == len(read(tmp_path, 'ann_dir', 'train')) == 4
    assert not (tmp_path / '.unfinished').exists()


@pytest.mark.parametrize('lost', ['img_dir/train/00001.png', 'ann_dir/train/00000.png'])
def test_lost_files_are_drawn_again(tmp_path, lost):
    generate_scenes(tmp_path, 'roads', dict(train=2), size=64)
    (tmp_path / lost).unlink()
    generate_scenes(tmp_path, 'roads', dict(train=2), size=64)
    assert (tmp_path / lost).exists()


def test_files_of_others_are_left_alone(tmp_path):
    mine = tmp_path / 'img_dir/train/00000.png'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b'mine')
    with pytest.raises(FileExistsError, match='img_dir but no scenes.json'):
        generate_scenes(tmp_path, 'roads', dict(train=1))
    assert mine.read_bytes() == b'mine'


def test_unknown_world(tmp_path):
    with pytest.raises(
        ValueError, match=r"got world='sea', expected one of \['objects', 'roads', 'shapes'\]"
    ):
        generate_scenes(tmp_path / 'sea', 'sea')
    assert not (tmp_path / 'sea').exists()


def test_two_processes_at_once_draw_once(tmp_path):
    """Both start drawing at the same moment: each waits until the other has finished its
    imports."""
    code = f"""
import pathlib, sys, time
from mmsam_peft.datasets.scenes import generate_scenes
here = pathlib.Path({str(tmp_path)!r})
(here / ('ready' + sys.argv[1])).touch()
while len(list(here.glob('ready*'))) < 2:
    time.sleep(0.001)
generate_scenes(here / 'roads', 'roads', dict(train=60), size=64)
assert len(list((here / 'roads/img_dir/train').glob('*.png'))) == 60
"""
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    processes = [subprocess.Popen([sys.executable, '-c', code, str(i)], **pipes) for i in range(2)]
    results = [p.communicate(timeout=600) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], results
    assert sum('drawing 60' in out for out, _ in results) == 1
    assert len(read(tmp_path / 'roads', 'ann_dir', 'train')) == 60
