"""docs/add_a_method.md and docs/add_an_encoder.md, followed to the letter in a copy of the
project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
METHOD, ENCODER = (
    (ROOT / 'docs' / f'{name}.md').read_text() for name in ('add_a_method', 'add_an_encoder')
)


@pytest.fixture(scope='module')
def project(tmp_path_factory) -> Path:
    """The project and the files that the guides name, each with the text they give."""
    place = tmp_path_factory.mktemp('project')
    for part in ('mmsam_peft', 'configs', 'tools', 'tests', 'pyproject.toml'):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, place / part)
    files = re.findall(r'<!-- file: (\S+) -->\n```python\n(.*?)```', METHOD + ENCODER, re.DOTALL)
    assert [name for name, _ in files] == [
        'mmsam_peft/peft/mlp_gain.py',
        'configs/mlp_gain/quickstart.py',
        'mmsam_peft/models/backbones/token_vit.py',
        'tests/peft/hosts/token_vit.py',
        'configs/token_vit/quickstart.py',
    ]
    for name, text in files:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)
    return place


def run(project: Path, *command: str) -> str:
    env = {**os.environ, 'PYTHONPATH': str(project), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_contract_covers_the_new_method(project):
    command = re.search(r'pytest (tests/peft/test_contract.py -k MLPGain)', METHOD)[1]
    passed = run(project, '-m', 'pytest', *command.split(), '-vv')
    for test in (
        'identity',
        'declared',
        'gradients',
        'merging',
        'copies',
        'autocast',
        'checkpointing',
        'image_size',
        'blocks',
    ):
        assert re.search(rf'{test}.*MLPGain.* PASSED', passed), test
    assert 'skipped' not in passed


def test_the_contract_covers_the_new_encoder(project):
    command = re.search(r'pytest (tests/peft/test_contract.py -k token_vit)', ENCODER)[1]
    passed = run(project, '-m', 'pytest', *command.split(), '-vv')
    for test in ('identity', 'declared', 'gradients', 'merging', 'file', 'refused'):
        assert re.search(rf'{test}.*LoRA-token_vit.* PASSED', passed), test
    assert 'MLPGain-token_vit' in passed and 'skipped' not in passed


def test_the_tool_lists_the_methods_of_the_new_encoder(project):
    command = re.search(r'python (tools/analysis_tools/list_methods.py \S+)', ENCODER)[1]
    table = run(project, *command.split())
    assert '| method | TokenViT | SAMMaskHead |' in table
    assert (
        '| MLPGain | works | works |' in table
        and '| VPT | needs an attention that takes extra tokens |' in table
    )


@pytest.mark.parametrize('name', ['mlp_gain', 'token_vit'])
def test_their_configs_train(project, name):
    run(
        project,
        'tools/train.py',
        f'configs/{name}/quickstart.py',
        '--work-dir',
        f'work/{name}',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        *(f'{part}_dataloader.dataset.num_images=8' for part in ('train', 'val')),
    )
    assert (project / f'work/{name}/adapter_best.safetensors').exists()


@pytest.mark.parametrize('name', ['mlp_gain', 'token_vit'])
def test_they_merge_into_plain_weights(project, name):
    assert 'relative difference' in run(
        project,
        'tools/merge_adapter.py',
        f'configs/{name}/quickstart.py',
        f'work/{name}/adapter_best.safetensors',
        f'{name}.pth',
    )
