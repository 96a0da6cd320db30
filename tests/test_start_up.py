"""What takes long to import is imported when it is used. Times are in docs/speed.md."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SLOW = ('matplotlib', 'scipy', 'transformers', 'bitsandbytes', 'sklearn', 'torchvision', 'peft')
SCRIPT = f"""
import sys
import mmsam_peft
print('>', *[name for name in {SLOW} if name in sys.modules])

from mmsam_peft.apis.launch import load_config
try:
    load_config('configs/convlora/kvasir.py', {{'model.bakbone.arch': 'x'}})
except ValueError as error:
    print('>', 'bakbone' in str(error))
late = ('matplotlib', 'transformers', 'bitsandbytes', 'sklearn')
print('>', *[name for name in late if name in sys.modules])

from mmengine.registry import OPTIMIZERS
for kind in ('Adafactor', 'AdamW8bit', 'bnb_AdamW', 'Lion', 'AdamW'):
    print('>', OPTIMIZERS.build(dict(type=kind, params=[__import__('torch').zeros(1)])).__module__)
"""


def test_nothing_heavy_is_imported_before_it_is_used(tmp_path):
    """Stand-ins of two packages, as they may not be installed."""
    for name, module, kinds in (
        ('transformers', '__init__', ['Adafactor']),
        ('bitsandbytes', 'optim', ['AdamW', 'AdamW8bit', 'Lion']),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').touch()
        made = [f'class {kind}:\n    def __init__(self, params): pass\n' for kind in kinds]
        (tmp_path / name / f'{module}.py').write_text('\n'.join(made))
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', SCRIPT],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    said = [line[1:].strip() for line in done.stdout.splitlines() if line.startswith('>')]
    first, refused, second, *optimizers = said
    assert first == '' and refused == 'True' and second == ''
    theirs, torchs = 'bitsandbytes.optim', 'torch.optim.adamw'
    assert optimizers == ['transformers', theirs, theirs, theirs, torchs]
