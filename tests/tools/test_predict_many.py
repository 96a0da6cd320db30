"""Processes of torchrun, started by the scripts; one is killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis import init_model, predict

pytestmark = pytest.mark.slow

TOOLS = Path(__file__).parents[2] / 'tools'
NUMBER = 240


def processes(words: tuple[str, ...]) -> list[int]:
    found = []
    for place in Path('/proc').glob('[0-9]*'):
        try:
            said = place.joinpath('cmdline').read_bytes().decode(errors='replace').split('\0')
        except OSError:  # it has ended
            continue
        if set(words) <= set(said) and not any(word.endswith('/torchrun') for word in said):
            found.append(int(place.name))
    return sorted(found)


@pytest.fixture
def given(build, tiny, tmp_path) -> tuple[Path, Path]:
    """An adapter and its base; images in in/, of which one is damaged."""
    model, adapter, base = build(trained=True), tmp_path / 'a.safetensors', tmp_path / 'base.pth'
    model.load_base()
    meta = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
    save_adapter(model, adapter, meta, tiny())
    tiny().dump(tmp_path / 'config.py')
    (tmp_path / 'in').mkdir()
    for number in range(NUMBER):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        large = np.kron(pixels, np.ones((40, 40, 1), np.uint8))
        Image.fromarray(large).save(tmp_path / f'in/{number}.png')
    Image.fromarray(large).save(tmp_path / 'in/bad.jpg')
    (tmp_path / 'in/bad.jpg').write_bytes((tmp_path / 'in/bad.jpg').read_bytes()[:900])
    return adapter, base


def masks(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.array(Image.open(path)) for path in folder.glob('masks/*.png')}


def require_right_masks(given: tuple[Path, Path], folder: Path, out: Path) -> None:
    """Those that one process makes by itself."""
    model = init_model(given[0], checkpoint=str(given[1]))
    list(predict(model, str(folder / 'in'), folder / 'one'))
    expected, found = masks(folder / 'one'), masks(out)
    assert found.keys() == expected.keys() and len(found) == NUMBER
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert len({mask.tobytes() for mask in found.values()}) > NUMBER / 2


def test_an_array_then_torchrun_with_a_process_that_is_killed(given, tmp_path, port):
    adapter, base = given
    out, common = tmp_path / 'out', [adapter, tmp_path / 'in', tmp_path / 'out']
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PORT': port,
        'MAX_RESTARTS': '1',
    }
    array = dict(
        SLURM_ARRAY_TASK_ID='5',
        SLURM_ARRAY_TASK_MIN='4',
        SLURM_ARRAY_TASK_COUNT='8',
        SLURM_JOB_ID='7',
        SLURM_SUBMIT_DIR=str(TOOLS.parent),
        GPUS='1',
    )
    options = ['--checkpoint', str(base), '--device', 'cpu']
    done = subprocess.run(
        ['bash', TOOLS / 'slurm_predict.sh', tmp_path / 'config.py', *common, *options],
        env={**environment, **array},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first = len(list((out / 'masks').iterdir()))
    assert 10 < first < NUMBER / 4 and 'part 1 of 8' in done.stdout

    with (tmp_path / 'log').open('w') as log:
        job = subprocess.Popen(
            ['bash', TOOLS / 'dist_predict.sh', tmp_path / 'config.py', *common, '2', *options],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            while len(list((out / 'masks').glob('*.png'))) < first + 30:
                assert job.poll() is None, (tmp_path / 'log').read_text()
                time.sleep(0.02)
            os.kill(processes((str(TOOLS / 'predict_many.py'), str(out)))[0], signal.SIGKILL)
            status = job.wait(400)
        finally:
            job.kill()
    log = (tmp_path / 'log').read_text()
    assert status == 1, log  # of manifest.py, for the image that failed
    assert 'exitcode: -9' in log and f'1 failed, {NUMBER + 1} in all' in log

    table = list(csv.DictReader((out / 'manifest.csv').open()))
    assert len(table) == len({row['image'] for row in table}) == NUMBER + 1
    assert [row['image'] for row in table if row['status'] != 'done'] == ['bad.jpg']
    rows = [
        json.loads(line)[0]
        for part in (out / 'manifest').iterdir()
        for line in part.read_text().splitlines()[1:]
    ]
    good = [row for row in rows if row != 'bad.jpg']
    assert len(good) == len(set(good)) == NUMBER  # each was noted once
    parts = {part.name.rpartition('-')[0] for part in (out / 'manifest').iterdir()}
    assert len(parts) >= 3  # of the array, of those that were stopped, of those after them
    require_right_masks(given, tmp_path, out)


def test_ray_with_a_worker_that_is_killed(given, tmp_path):
    out = tmp_path / 'out'
    command = [sys.executable, TOOLS / 'ray_predict.py', given[0].name, 'in', 'out']
    environment = {
        **os.environ,
        'HOME': str(tmp_path),
        'RAY_USAGE_STATS_ENABLED': '0',
        'RAY_worker_niceness': '0',  # else workers wait for all else that runs on the machine
    }
    with (tmp_path / 'log').open('w') as log:
        job = subprocess.Popen(
            [*command, '--workers', '2', '--checkpoint', given[1].name],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            while not (parts := sorted(out.glob('manifest/*.jsonl'))):
                assert job.poll() is None, (tmp_path / 'log').read_text()
                time.sleep(0.02)
            os.kill(int(parts[0].name.partition('-')[0]), signal.SIGKILL)
            status = job.wait(400)
        finally:
            job.kill()
    log = (tmp_path / 'log').read_text()
    assert status == 1 and f'{NUMBER} images predicted, 1 failed: see out' in log, log
    assert 'not predicted: bad.jpg: ValueError' in log
    workers = {part.name.partition('-')[0] for part in (out / 'manifest').iterdir()}
    assert len(workers) > 1  # another has gone on
    require_right_masks(given, tmp_path, out)
