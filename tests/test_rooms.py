"""The package's imports: lower rooms know nothing of higher ones, and there is no circle, hidden
ones through an ``__init__.py`` and imports inside functions included."""

import ast
from pathlib import Path

import pytest

import mmsam_peft

ROOT = Path(mmsam_peft.__file__).parent
ROOMS = (
    ('version', 'compat', 'registry', 'finite', 'hashing', 'whole_files', 'hub', 'safe_load'),
    'layers',
    'peft',
    'adapters',
    'measures',
    'tasks',
    'datasets',
    'models',
    'evaluation',
    'visualization',
    'engine',
    'apis',
    'analysis',
    'start',
)
"""From the lowest on; files that lie beside the rooms share the lowest one."""
RANK = {
    name: number
    for number, names in enumerate(ROOMS)
    for name in ([names] if isinstance(names, str) else names)
}


def modules() -> dict[str, Path]:
    """Path by dotted name below the package; '' is the package itself."""
    names = {}
    for path in sorted(ROOT.rglob('*.py')):
        if '.mim' not in path.parts:
            parts = path.relative_to(ROOT).with_suffix('').parts
            names['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return names


def imported(name: str, path: Path, known: set[str]) -> set[str]:
    """The modules of the package that ``name`` imports, with every package that is entered on the
    way."""
    package = name.split('.') if path.name == '__init__.py' else name.split('.')[:-1]
    package = [part for part in package if part]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1]
            base = '.'.join([ROOT.name, *up]) if node.level else ''
            base = '.'.join(part for part in (base, node.module) if part)
            targets = [f'{base}.{alias.name}' for alias in node.names]
        for target in targets:
            first, *parts = target.split('.')
            if first == ROOT.name:
                entered = {'.'.join(parts[:end]) for end in range(1, len(parts) + 1)} & known
                found |= {one for one in entered if not f'{name}.'.startswith(f'{one}.')}
    return found


@pytest.fixture(scope='module')
def arrows() -> dict[str, set[str]]:
    names = modules()
    return {name: imported(name, path, set(names)) for name, path in names.items() if name}


def test_every_room_has_a_place(arrows):
    assert {name.split('.')[0] for name in arrows} - {'assets'} == set(RANK)


def test_no_arrow_upward(arrows):
    wrong = [
        f'{name} imports {target}'
        for name, targets in arrows.items()
        for target in sorted(targets)
        if RANK[target.split('.')[0]] > RANK[name.split('.')[0]]
    ]
    assert not wrong, '\n'.join(wrong)


def test_no_circle(arrows):
    left = {name: set(targets) for name, targets in arrows.items()}
    while free := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in free}
    assert not left, '\n'.join(
        f'{name} imports {", ".join(sorted(targets & left.keys()))}'
        for name, targets in left.items()
    )
