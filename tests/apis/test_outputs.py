"""Runs that were stopped, other models and other files in the folder of predictions."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmsam_peft.apis import init_model, predict, prediction
from mmsam_peft.apis.outputs import RECORD

PREDICT = """
import sys
import time
from mmsam_peft.apis import init_model, predict, prediction
config, adapter, images, out = sys.argv[1:]
note = prediction.OutputFolder.note
def slow(self, image, complete):
    note(self, image, complete)
    if not complete:
        print(image, flush=True)
        time.sleep(5)  # until the signal is there
prediction.OutputFolder.note = slow
list(predict(init_model(config, adapter, 'cpu'), images, out))
"""


@pytest.fixture
def images(tmp_path) -> Path:
    (tmp_path / 'in').mkdir()
    for i in range(4):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (30, 40, 3), np.uint8)).save(
            tmp_path / f'in/{i}.png'
        )
    return tmp_path / 'in'


@pytest.fixture
def model(ready):
    return init_model(*ready, 'cpu')


def seen_by(model) -> list[str]:
    """A list that grows by the names of the images that the model sees."""
    names, step = [], model.test_step
    model.test_step = lambda data: (
        names.extend(Path(one.img_path).name for one in data['data_samples']) or step(data)
    )
    return names


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*.png')
    }


def same(first: bytes, second: bytes) -> bool:
    """Whether two pictures are, but for what rounding may move."""
    first, second = (np.asarray(Image.open(io.BytesIO(one))) for one in (first, second))
    return first.shape == second.shape and (first == second).mean() > 0.99


def test_a_stopped_run_goes_on(model, images, tmp_path, monkeypatch):
    """Stopped between an image's mask and its overlay, and in the middle of a line of the
    record."""
    list(predict(model, str(images), tmp_path / 'whole'))
    overlay = prediction.write_overlay

    def stop(pixels, mask, palette, path, opacity):
        if path.name == '2.png':
            raise OSError('no space left')
        overlay(pixels, mask, palette, path, opacity)

    monkeypatch.setattr(prediction, 'write_overlay', stop)
    with pytest.raises(OSError, match='no space left'):
        list(predict(model, str(images), tmp_path / 'out', batch_size=1))
    monkeypatch.setattr(prediction, 'write_overlay', overlay)
    assert {'masks/2.png', 'overlays/1.png'} <= set(files(tmp_path / 'out')) and not list(
        tmp_path.rglob('*.part')
    )
    record = tmp_path / 'out' / RECORD
    lines = [line for line in record.read_text().splitlines(True) if '"3.png"' not in line]
    record.write_text(''.join(lines) + '{"name": "3.pn')
    (tmp_path / 'out/masks/0.png').unlink()
    for path in (tmp_path / 'out').glob('*/3.png'):
        path.unlink()
    names = seen_by(model)
    results = list(predict(model, str(images), tmp_path / 'out'))
    assert names == ['0.png', '2.png', '3.png'] and results == [
        (images / f'{i}.png', None) for i in range(4)
    ]
    first, second = files(tmp_path / 'out'), files(tmp_path / 'whole')
    assert first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    assert all(
        json.loads(line) for line in record.read_text().splitlines() if line != '{"name": "3.pn'
    )
    list(predict(model, str(images), tmp_path / 'out'))
    assert len(names) == 3, 'nothing is left to do'


def test_an_image_that_changed_or_broke(model, images, tmp_path):
    list(predict(model, str(images), tmp_path / 'out'))
    Image.fromarray(np.zeros((10, 10, 3), np.uint8)).save(images / '1.png')
    (images / '2.png').write_bytes(b'nothing')
    names = seen_by(model)
    results = dict(predict(model, str(images), tmp_path / 'out'))
    assert names == ['1.png'] and [path.name for path, error in results.items() if error] == [
        '2.png'
    ]
    assert Image.open(tmp_path / 'out/masks/1.png').size == (10, 10)
    assert not list((tmp_path / 'out').glob('*/2.png')), (
        'they were of the image that was there before'
    )


def test_another_model_or_setting(model, images, tmp_path):
    """Its masks do not stand beside those that are there; with ``overwrite`` none of them is
    left."""
    list(predict(model, str(images), tmp_path / 'out'))
    before = files(tmp_path / 'out')
    with torch.no_grad():
        model.backbone.blocks[0].mlp.lin1.weight[0, 0] += 1
    for changed, options in (
        (model, {}),
        (init_model(model.cfg, None, 'cpu'), {}),
        (model, dict(opacity=0.4)),
    ):
        with pytest.raises(
            FileExistsError, match='another model, or with other settings.*--overwrite'
        ):
            list(predict(changed, str(images), tmp_path / 'out', **options))
    assert files(tmp_path / 'out') == before
    list(predict(model, str(images / '1.png'), tmp_path / 'out', overwrite=True))
    assert set(files(tmp_path / 'out')) == {'masks/1.png', 'overlays/1.png'}


def test_files_that_are_not_ours(model, images, tmp_path):
    """A user's masks, predictions of other images of the same names, and the images themselves."""
    (tmp_path / 'data/masks').mkdir(parents=True)
    (tmp_path / 'data/masks/3.png').write_text('by hand')
    with pytest.raises(
        FileExistsError,
        match='masks/3.png is there already, and predictions.jsonl .* does not list it',
    ):
        list(predict(model, str(images), tmp_path / 'data'))
    images.rename(tmp_path / 'masks')
    with pytest.raises(ValueError, match='masks/0.png would replace an image'):
        list(predict(model, str(tmp_path / 'masks'), tmp_path, overwrite=True))
    list(predict(model, str(tmp_path / 'masks'), tmp_path / 'out'))
    (tmp_path / 'masks').rename(images)
    with pytest.raises(
        FileExistsError, match=r'holds the prediction 0.png of another image, .*masks/0.png'
    ):
        list(predict(model, str(images), tmp_path / 'out'))
    assert (tmp_path / 'data/masks/3.png').read_text() == 'by hand' and len(
        list(images.iterdir())
    ) == 4


def test_a_record_that_names_files_elsewhere(model, images, tmp_path):
    (tmp_path / 'mine.png').write_text('mine')
    (tmp_path / 'out').mkdir()
    record = [
        dict(made_by='', folders=['.', 'masks', str(tmp_path)]),
        dict(name='../mine.png'),
        dict(name='mine.png'),
        3,
    ]
    (tmp_path / 'out' / RECORD).write_text('\n'.join(map(json.dumps, record)) + '\nno JSON')
    list(predict(model, str(images), tmp_path / 'out', overwrite=True))
    assert (tmp_path / 'mine.png').read_text() == 'mine'


def test_outputs_within_the_images(model, images):
    """Twice: none of them becomes an image."""
    for _ in range(2):
        assert len(list(predict(model, str(images), images / 'out'))) == 4
        assert len(list(predict(model, str(images), images))) == 4
    assert len(files(images)) == 4 + 8 + 8


@pytest.mark.slow
@pytest.mark.parametrize('sent', [signal.SIGINT, signal.SIGKILL])
def test_interrupted(ready, images, tmp_path, sent):
    """Whatever is there is whole, and the next run makes the rest."""
    (tmp_path / 'run.py').write_text(PREDICT)
    command = [sys.executable, tmp_path / 'run.py', *ready, images, tmp_path / 'out']
    running = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        # a shell's background jobs ignore SIGINT, and so do the processes that they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in running.stdout:
        if '1.png' in line:
            break
    running.send_signal(sent)
    running.communicate(timeout=600)
    assert running.returncode
    for path in (tmp_path / 'out').rglob('*.png'):
        Image.open(path).load()
    if sent == signal.SIGINT:
        assert not list(tmp_path.rglob('*.part'))
    list(predict(init_model(*ready, 'cpu'), str(images), tmp_path / 'out'))
    assert len(files(tmp_path / 'out')) == 8
