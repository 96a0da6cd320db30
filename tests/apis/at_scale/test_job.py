"""Jobs in this process: shares, restarts, stores, what is refused."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image as Pillow

from mmsam_peft.apis.at_scale import manifest
from mmsam_peft.apis.at_scale.job import Job, Settings, own_part
from mmsam_peft.apis.at_scale.manifest import DONE, FAILED, merge, read_rows
from mmsam_peft.apis.at_scale.ray_job import Worker
from mmsam_peft.apis.at_scale.stores import Folder, list_images
from mmsam_peft.apis.extras import Extras
from mmsam_peft.apis.outputs import RECORD
from mmsam_peft.apis.prediction import predict

NUMBER = 12


def draw(path: Path, seed: int, turned: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Pillow.fromarray(np.kron(pixels, np.ones((8, 8, 1), np.uint8)))
    exif = image.getexif()
    exif[274] = 6 if turned else 1
    image.save(path, exif=exif)


@pytest.fixture
def given(ready, tmp_path):
    """A job's model, settings and images, of which one is turned by its EXIF data and one damaged;
    and the masks of ``predict``, one process and no store."""
    settings = Settings(str(ready[1]), str(ready[0]), device='cpu')
    for number in range(NUMBER):
        draw(tmp_path / f'in/{number % 2}/{number}.jpg', number, turned=number == 4)
    draw(tmp_path / 'in/1/1.png', 99)  # beside 1.jpg: their masks have other names
    bad = tmp_path / 'in/bad.png'
    bad.write_bytes((tmp_path / 'in/0/0.jpg').read_bytes()[:500])
    model = settings.model()
    list(predict(model, str(tmp_path / 'in'), tmp_path / 'expected'))
    return model, settings, str(tmp_path / 'in'), masks(Folder(tmp_path / 'expected'))


def masks(out: Folder) -> dict[str, np.ndarray]:
    return {name: np.array(Pillow.open(io.BytesIO(out.read(name)))) for name in out.files('masks')}


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], expected[name]) for name in expected
    )


def test_parts_are_disjoint_and_whole(given, tmp_path):
    model, settings, source, expected = given
    job = Job(model, settings, source, str(tmp_path / 'out'))
    parts = [job.left(part, 3) for part in range(3)]
    assert sorted(image for part in parts for image in part) == sorted(job.left())
    assert len(job.left()) == NUMBER + 2 and all(parts)
    for number, part in enumerate(parts):
        rows = list(job.run(part, number))
        assert [row.image for row in rows] == [image.below for image in part]
        assert all(row.seconds > 0 for row in rows)
    assert same(masks(job.out), expected)
    assert not job.out.files('overlays')
    assert merge(job.out, job.images) == {DONE: NUMBER + 1, FAILED: 1}
    table = list(csv.DictReader(io.StringIO(job.out.read('manifest.csv').decode())))
    by_image = {row['image']: row for row in table}
    assert len(by_image) == len(table) == NUMBER + 2
    assert by_image['1/1.jpg']['mask'] == 'masks/1/1.jpg.png'
    assert by_image['0/4.jpg']['mask'] == 'masks/0/4.png' and by_image['0/4.jpg']['error'] == ''
    failed = by_image['bad.png']
    assert (failed['status'], failed['mask']) == (FAILED, '')
    assert 'runcated' in failed['error']


def test_a_stopped_job_goes_on_with_another_number_of_processes(given, tmp_path, monkeypatch):
    model, settings, source, expected = given
    monkeypatch.setattr(manifest, 'SECONDS', 0.0)
    out = str(tmp_path / 'out')
    first = Job(model, settings, source, out)
    running = first.run(first.left(0, 2))
    done = [next(running).image for _ in range(3)]  # then it is killed
    second = Job(model, settings, source, out)
    left = [image.below for part in range(3) for image in second.left(part, 3)]
    assert sorted(left) == sorted(one.below for one in second.images if one.below not in done)
    list(second.run(second.left()))
    assert same(masks(second.out), expected)
    assert [image.below for image in second.left()] == ['bad.png']
    draw(tmp_path / 'in/bad.png', 77)  # mended, another changed, a mask lost
    draw(tmp_path / 'in/0/0.jpg', 78)
    (tmp_path / 'out/masks/0/2.png').unlink()
    third = Job(model, settings, source, out)
    assert [image.below for image in third.left()] == ['0/0.jpg', '0/2.jpg', 'bad.png']
    list(third.run(third.left()))
    assert third.left() == [] and merge(third.out, third.images) == {DONE: NUMBER + 2}
    list(predict(model, source, tmp_path / 'expected'))
    assert same(masks(third.out), masks(Folder(tmp_path / 'expected')))


def test_rows_that_a_killed_process_did_not_write(given, tmp_path):
    """Its masks are there, its rows are not: they are made again. Half a file cannot be read."""
    model, settings, source, expected = given
    job = Job(model, settings, source, str(tmp_path / 'out'))
    running = job.run(job.left())
    for _ in range(4):
        next(running)
    assert read_rows(job.out) == {} and masks(job.out)
    assert len(Job(model, settings, source, str(tmp_path / 'out')).left()) == NUMBER + 2
    running.close()
    assert len(read_rows(job.out)) == 4
    part = next(iter((tmp_path / 'out/manifest').iterdir()))
    part.with_name('00000-cut-00000.jsonl').write_bytes(part.read_bytes()[:-9])
    part.with_name('00000-empty-00000.jsonl').touch()  # the power went
    assert len(read_rows(job.out, job.made_by)) == 4


def test_another_job_in_the_folder(given, tmp_path):
    model, settings, source, _ = given
    out = str(tmp_path / 'out')
    job = Job(model, settings, source, out)
    Job(model, replace(settings, batch_size=2), source, out)
    for other in (replace(settings, amp=True), replace(settings, extras=Extras(threshold=0.3))):
        with pytest.raises(FileExistsError, match='another model, or with other settings'):
            Job(model, other, source, out)
    with pytest.raises(FileExistsError, match=r'images of .*/in, these are of .*/in/0'):
        Job(model, settings, f'{source}/0', out)
    with pytest.raises(FileExistsError, match=r'predictions of tools/predict.py'):
        Job(model, settings, source, str(tmp_path / 'expected'))
    with pytest.raises(FileExistsError, match='no record of the 1 files in masks'):
        draw(tmp_path / 'own/masks/a.png', 0)
        Job(model, settings, source, str(tmp_path / 'own'))
    with pytest.raises(ValueError, match=r'masks/a.png .* would replace an image'):
        Job(model, settings, f'file://{tmp_path}/own/masks', str(tmp_path / 'own'))
    # two that began at once, in a store that cannot say who was first
    list(job.run(job.images[:1]))
    with pytest.raises(FileExistsError, match='two jobs wrote into one folder'):
        read_rows(job.out, 'another')
    # nor does tools/predict.py take what is not its own
    with pytest.raises(FileExistsError):
        list(predict(model, source, out))


def test_outputs_below_the_images_are_no_images(given, tmp_path):
    model, settings, source, _ = given
    job = Job(model, settings, source, f'{source}/out')
    list(job.run(job.left()))
    assert len(Job(model, settings, source, f'{source}/out').images) == NUMBER + 2


def test_object_stores(given, tmp_path):
    """Images and masks in a store, in the folder of a store below the images, and mixed."""
    model, settings, source, expected = given
    store = fsspec.filesystem('memory')
    store.put(f'{source}/', '/in/', recursive=True)
    store.pipe_file('/in/.hidden/a.png', b'')
    pictures = replace(settings, overlays=True)
    for images, place in (
        ('memory://in', 'memory://in/out'),
        ('memory://in/**/*.*', 'memory://out'),
        ('memory://in', str(tmp_path / 'out')),
        (source, 'memory://mixed'),
        (f'file://{source}', f'file://{tmp_path}/local'),
    ):
        job = Job(model, pictures, images, place)
        rows = {row.image: row for row in job.run(job.left())}
        assert same(masks(job.out), expected), (images, place)
        assert len(job.out.files('overlays')) == NUMBER + 1
        bad = rows.pop('bad.png')
        assert bad.status == FAILED and '/mmsam_peft-' not in bad.error
        assert {row.status for row in rows.values()} == {DONE}
        again = Job(model, pictures, images, place)
        assert [image.below for image in again.left()] == ['bad.png']
    store.pipe_file('/in/0/0.jpg', store.cat_file('/in/0/2.jpg'))
    assert [
        image.below for image in Job(model, pictures, 'memory://in', 'memory://in/out').left()
    ] == [
        '0/0.jpg',
        'bad.png',
    ]
    store.pipe_file('/in/0/2.jpg', b'no image')
    job = Job(model, pictures, 'memory://in', 'memory://in/out')
    list(job.run(job.left()))
    assert 'masks/0/2.png' not in job.out.files('masks')  # which was another image's
    with pytest.raises(FileNotFoundError, match='No image at memory://nothing'):
        list_images('memory://nothing')
    with pytest.raises(ValueError, match='nosuch'):
        Folder('nosuch://a')


def test_a_disk_that_is_full_stops_the_job_and_keeps_the_rows(given, tmp_path, monkeypatch):
    from mmsam_peft.apis.at_scale import job as module

    model, settings, source, expected = given
    job = Job(model, settings, source, str(tmp_path / 'out'))
    write, calls = module.write, []

    def full(*about):
        calls.append(1)
        if len(calls) > 5:
            raise OSError(28, 'No space left on device')
        return write(*about)

    monkeypatch.setattr(module, 'write', full)
    monkeypatch.setattr(module, 'THREADS', 1)
    with pytest.raises(OSError, match='No space left'):
        list(job.run(job.left()))
    assert len(read_rows(job.out)) >= 4
    monkeypatch.setattr(module, 'write', write)
    list(job.run(job.left()))
    assert same(masks(job.out), expected)


def test_several_tasks(tasks_adapter, tmp_path):
    for number in range(3):
        draw(tmp_path / f'in/{number}.jpg', number)
    for overlays in (False, True):
        settings = Settings(
            str(tasks_adapter), checkpoint=str(tmp_path / 'base.pth'), overlays=overlays
        )
        model = settings.model('cpu')
        if not overlays:
            list(predict(model, str(tmp_path / 'in'), tmp_path / 'expected'))
        place = f'memory://tasks{overlays}' if overlays else str(tmp_path / 'out')
        job = Job(model, settings, str(tmp_path / 'in'), place)
        rows = list(job.run(job.left()))
        assert [row.mask for row in rows] == [f'loss_map/{number}.png' for number in range(3)]
        assert job.left() == []
        assert bool(job.out.files('panels')) == overlays
        for number in range(3):
            for name in (f'loss_map/{number}.png', f'depth/{number}.npy'):
                assert job.out.read(name) == (tmp_path / 'expected' / name).read_bytes()


def test_odd_names(given, tmp_path):
    model, settings, _, _ = given
    names = [
        'a, "b".png',
        'line\nbreak.png',
        'ünï 😀.png',
        'byte\udcff.png',
        '[x]*?.png',
        '-o=1.png',
    ]
    for number, name in enumerate(names):
        draw(tmp_path / 'odd' / name, number)
    job = Job(model, settings, str(tmp_path / 'odd'), str(tmp_path / 'out [1]'))
    list(job.run(job.left()))
    assert {path.name for path in (tmp_path / 'out [1]/masks').iterdir()} == set(names)
    assert job.left() == [] and merge(job.out, job.images) == {DONE: len(names)}
    text = job.out.read('manifest.csv').decode(errors='surrogateescape')
    assert {row['image'] for row in csv.DictReader(io.StringIO(text, newline=''))} == set(names)


def test_the_worker_of_ray(given, tmp_path):
    """What Ray calls, with what Ray gives it."""
    model, settings, source, expected = given
    job = Job(model, settings, source, str(tmp_path / 'out'))
    images = job.left()
    batch = dict(image=np.array([json.dumps(image) for image in images]))
    made = Worker(settings, source, str(tmp_path / 'out'), job.top)(batch)
    assert sorted(json.loads(row)[2] for row in made['row']) == [DONE] * (NUMBER + 1) + [FAILED]
    assert same(masks(job.out), expected)
    assert [image.below for image in job.left()] == ['bad.png']


def test_the_part_of_a_process(monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    assert own_part(0, 1) == (0, 1)
    monkeypatch.setenv('WORLD_SIZE', '4')
    found = []
    for part in range(3):
        for rank in range(4):
            monkeypatch.setenv('RANK', str(rank))
            found.append(own_part(part, 3))
    assert found == [(number, 12) for number in range(12)]


def test_the_record_is_written_by_the_first(tmp_path):
    for folder in (Folder(tmp_path / 'a'), Folder('memory://first')):
        folder.create(RECORD, b'first')
        folder.create(RECORD, b'second')
        assert folder.read(RECORD) == b'first'
        assert list(folder.files()) == [RECORD]
    assert json.dumps(Folder(tmp_path / 'a').read('nothing')) == 'null'
