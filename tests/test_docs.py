"""docs/add_a_method.md, followed to the letter in a copy of the project."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / 'docs/add_a_method.md').read_text()


@pytest.fixture(scope='module')
def project(tmp_path_factory) -> Path:
    """The project and the files that the guide names, each with the text it gives."""
    place = tmp_path_factory.mktemp('project')
    for part in ('mmsam_peft', 'configs', 'tools', 'tests', 'pyproject.toml'):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, place / part)
    files = re.findall(r'<!-- file: (\S+) -->\n```python\n(.*?)```', GUIDE, re.DOTALL)
    assert [name for name, _ in files] == ['mmsam_peft/peft/mlp_gain.py', 'configs/mlp_gain/quickstart.py']
    for name, text in files:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)
    return place


def run(project: Path, *command: str) -> str:
    env = {**os.environ, 'PYTHONPATH': str(project), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, *command], cwd=project, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_contract_covers_the_new_method(project):
    command = re.search(r'pytest (tests/peft/test_contract.py -k MLPGain)', GUIDE)[1]
    passed = run(project, '-m', 'pytest', *command.split(), '-vv')
    for test in ('identity', 'declared', 'gradients', 'merging', 'copies', 'autocast', 'checkpointing', 'image_size', 'blocks'):
        assert re.search(rf'{test}.*MLPGain.* PASSED', passed), test
    assert 'skipped' not in passed


def test_its_config_trains(project):
    run(project, 'tools/train.py', 'configs/mlp_gain/quickstart.py', '--work-dir', 'work', '--cfg-options',
        'train_cfg.max_epochs=1', *(f'{part}_dataloader.dataset.num_images=8' for part in ('train', 'val')))
    assert (project / 'work/adapter_best.safetensors').exists()


def test_it_merges_into_plain_weights(project):
    assert 'relative difference' in run(project, 'tools/merge_adapter.py', 'configs/mlp_gain/quickstart.py',
                                        'work/adapter_best.safetensors', 'sam.pth')
