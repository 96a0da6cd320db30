"""The page: its numbers, its escaping, its size, and how a browser shows it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsam_peft.evaluation.examples import Example
from mmsam_peft.evaluation.record import Counted, Record, View, read_record, write_record
from mmsam_peft.evaluation.tallies import BinaryTally, ClassTally, TaskTally
from mmsam_peft.visualization.report import write_report
from mmsam_peft.visualization.report.scored import score
from mmsam_peft.visualization.report.work_dir import read_log

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None)
EVIL = '<script>alert(1)</script>&"\''
VOID = ('meta', 'img', 'br')


class Page(HTMLParser):
    """Raises AssertionError where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.words, self.found = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and 'style' not in self.open:
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return ' '.join(self.words)


def check_alone(text: str) -> Page:
    """Well-formed, without a script or anything from elsewhere."""
    page = Page(text)
    for tag, attributes in page.found:
        assert tag not in ('script', 'link', 'iframe', 'object')
        for name, value in attributes.items():
            assert not name.startswith('on')
            assert name not in ('src', 'href') or value.startswith('data:image/jpeg;base64,')
    assert not re.search(r'url\(|@import', text)
    return page


def example(path: Path, value: float, group: str, size=(24, 32)) -> Example:
    truth = np.zeros((1, *size), np.uint8)
    truth[:, 4:16, 4:20] = 1
    return Example(value, 0.1, str(path), np.roll(truth, 3, 2), truth, group)


def binary_record(folder: Path, images: int = 5) -> Record:
    """Image i has the Dice 2 (i + 1) / 20; the first three are examples."""
    rng = np.random.default_rng(0)
    results = [[i + 1, 9 - i % 9, 9 - i % 9, 50] for i in range(images)]
    tally = BinaryTally()
    numbers = [tally.numbers(one) for one in results]
    values = [tally.scores(one, 1) for one in numbers]
    sums = {name: sum(one[name] for one in numbers) for name in numbers[0]}
    paths = []
    for i in range(3):
        paths.append(folder / f'{i}{EVIL.replace("/", "")}.png')
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(paths[-1])
    groups = ('worst', 'median', 'best')
    return Record(
        dict(
            split='val', iteration=7, epoch=1, threshold=0.5, better=tally.better, main='Dice',
            scores=tally.scores(sums, images) | dict(other=3.25),
        ),
        [f'{i}.png' for i in range(images)],
        [
            Counted(
                tally,
                np.arange(images),
                {name: np.array([one[name] for one in numbers]) for name in numbers[0]},
                {name: np.array([one[name] for one in values]) for name in values[0]},
            )
        ],
        [
            View(
                '',
                'Dice',
                [example(path, 10.0 * i, groups[i]) for i, path in enumerate(paths)],
                dict(classes=['background', EVIL], palette=[[0, 0, 0], [0, 255, 0]], ignore=255),
            )
        ],
        np.linspace(20, 80, 51),
    )  # fmt: skip


def log(folder: Path, run: str, lines: list[dict]) -> None:
    path = folder / run / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, lines)) + '\n{"cut off')


@pytest.fixture
def work_dir(tmp_path) -> Path:
    """A training of two runs, with a loss that is not a number, a baseline and a record."""
    folder = tmp_path / f'work {EVIL.replace("/", "")}'
    (folder / 'report').mkdir(parents=True)
    write_record(binary_record(tmp_path), folder / 'report' / 'val.npz')
    (folder / 'baselines.json').write_text(
        json.dumps(dict(untuned=dict(Dice=12.5), constant=dict(Dice=99.0)))
    )
    facts = dict(
        settings={'method': EVIL}, environment=dict(command=EVIL), steps_left_out=2,
        data=dict(train=dict(
            images=7, sizes=[[48, 64, 5], [32, 64, 2]], different_sizes=2, smallest=[32, 64],
            largest=[48, 64], classes={'': {'background': 750, EVIL: 250}}, ignored={'': 0})),
    )  # fmt: skip
    (folder / 'report' / 'run.json').write_text(json.dumps(facts))
    first = [dict(loss=5.0 - i, iter=10 * i, lr=0.1, epoch=1, step=i) for i in (1, 2, 3)]
    log(folder, '20260101_000000', [*first[:2], dict(Dice=3.0, step=1), first[2]])
    last = dict(loss=float('nan'), iter=30, lr=0.1, epoch=2, step=3)
    log(folder, '20260101_000001', [last, dict(Dice=4.0, step=2)])
    return folder


def test_numbers_against_those_computed_here(work_dir):
    page = check_alone(write_report(work_dir).read_text())
    record = read_record(work_dir / 'report' / 'val.npz')
    dice = np.array([2 * (i + 1) / (2 * (i + 1) + 2 * (9 - i)) for i in range(5)])
    assert record.info['scores']['Dice'] == pytest.approx(100 * dice.mean())
    draws = np.random.default_rng(3).choice(100 * dice, (20000, 5)).mean(1)
    low, high = score(record).intervals['Dice']
    assert (low, high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1.2)
    text = page.text
    assert f'{100 * dice.mean():.1f} 95 % interval {low:.1f} – {high:.1f}' in text
    assert '5 validation images, after iteration 7' in text
    assert f'{100 * dice.mean() - 12.5:.1f} better than the model before tuning' in text
    assert 'No better than always the same answer (99.0)' in text
    assert 'Highest, 80.00, at 1.00. Used: 50.00.' in text
    assert 'background 75.0 %' in text and '64 × 32 to 64 × 48 pixels' in text
    assert '2 steps had a loss or gradient that was NaN or infinite and were left out.' in text
    assert 'other 3.25' in text
    images = [attributes for tag, attributes in page.found if tag == 'img']
    assert len(images) == 3 * 4 and all(one['alt'] for one in images)
    assert text.count(EVIL) >= 3 and EVIL not in write_report(work_dir).read_text()


def test_a_resumed_run_goes_on_where_it_did(work_dir):
    found = read_log(work_dir, None, [])
    assert [entry['iter'] for entry in found.training] == [10, 20, 30]
    assert np.isnan(found.training[-1]['loss'])
    assert [(entry['iter'], entry['Dice']) for entry in found.validation] == [(20, 3.0), (30, 4.0)]


def test_classes_and_tasks_have_their_part(tmp_path):
    """A table of the classes, worst first; a depth map whose image is gone."""
    rng = np.random.default_rng(0)
    counts = {'labelled': np.array([[60, 30, 10, 0], [50, 40, 10, 0]], float)}
    counts['right'] = counts['labelled'] * [0.9, 0.5, 0.2, 0]
    counts['predicted'] = counts['labelled']
    tally = ClassTally(['mIoU'])
    sums = {name: one.sum(0) for name, one in counts.items()}
    palette = [[250, 0, 0], [0, 250, 0], [0, 0, 250], [9, 9, 9]]
    classes = View('', 'mIoU', [], dict(classes=[*'abcd'], palette=palette))
    config = dict(type='Depth', name='depth')
    depth = Example(0.5, 0, '/gone.png', *rng.random((2, 1, 20, 30)).astype(np.float16), 'worst')
    pixels = dict(pixels=np.array([4.0, 4]))
    record = Record(
        dict(split='val', better=tally.better, scores=tally.scores(sums, 2) | {'depth/AErr': 0.5}),
        ['0', '1'],
        [
            Counted(tally, np.arange(2), counts, {'mIoU': np.array([50.0, 60])}),
            Counted(
                TaskTally(config, 'depth/'), np.arange(2), {}, {'depth/AErr': pixels['pixels']}
            ),
        ],
        [classes, View('depth', 'depth/AErr', [depth], dict(task=config))],
    )
    (tmp_path / 'report').mkdir()
    write_record(record, tmp_path / 'report' / 'val.npz')
    page = check_alone(write_report(tmp_path).read_text())
    iou = [100 * 0.9 / 1.1, 100 * 0.5 / 1.5, 100 * 0.2 / 1.8]
    assert f'c {iou[2]:.1f}' in page.text and f'a {iou[0]:.1f}' in page.text
    order = [page.text.index(f'{name} {value:.1f}') for name, value in zip('abc', iou, strict=True)]
    assert order == sorted(order, reverse=True) and 'd not there' in page.text
    assert '10.00 %' in page.text and '1 images could not be read to show them' in page.text
    assert len([tag for tag, _ in page.found if tag == 'img']) == 2


def test_of_nothing_and_of_an_older_version(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no training: expected .*scalars.json'):
        write_report(tmp_path)
    log(tmp_path, 'run', [dict(loss=1.0, iter=1, lr=0.1)])
    (tmp_path / 'report').mkdir()
    (tmp_path / 'report' / 'val.npz').write_bytes(b'damaged')
    (tmp_path / 'baselines.json').write_text('[')
    text = check_alone(write_report(tmp_path).read_text()).text
    assert 'val.npz cannot be read' in text and 'baselines.json cannot be read' in text
    assert 'This training had no validation.' in text and 'tools/test.py' in text


def test_pictures_of_noise_stay_small(work_dir, tmp_path):
    """The worst that JPEG can get; three megabytes are the limit."""
    record = binary_record(tmp_path)
    noise = tmp_path / 'noise.png'
    pixels = np.random.default_rng(0).integers(0, 255, (320, 320, 3), np.uint8)
    Image.fromarray(pixels).save(noise)
    record.views[0].examples = [
        example(noise, 1.0, group, (320, 320)) for group in ('best', 'median', 'worst') * 3
    ]
    for split in ('val', 'test'):
        record.info['split'] = split
        write_record(record, work_dir / 'report' / f'{split}.npz')
    assert 2e5 < write_report(work_dir).stat().st_size < 3e6


def test_a_browser_shows_it(work_dir, tmp_path):
    """On a phone nothing is wider than the screen. Without Chromium, the page's text is looked at
    all the same."""
    path = write_report(work_dir)
    check_alone(path.read_text())
    if CHROMIUM is None:
        return
    shown = tmp_path / 'report.html'
    shown.write_text(path.read_text())
    picture = tmp_path / 'picture.png'
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars']
    options += [f'--user-data-dir={tmp_path / "profile"}', '--window-size=500,1600']
    subprocess.run(
        [CHROMIUM, *options, f'--screenshot={picture}', shown.as_uri()],
        check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    pixels = np.asarray(Image.open(picture).convert('RGB')).astype(int)
    assert pixels.shape == (1600, 500, 3)
    edge = pixels[:, -6:].reshape(-1, 3)
    assert (np.abs(edge - edge[0]).max(1) < 8).all(), 'something is wider than the screen'
    bar = (np.abs(pixels - (11, 110, 153)).max(-1) < 12).sum()
    assert bar > 500 and (pixels.std((0, 1)) > 20).all()
