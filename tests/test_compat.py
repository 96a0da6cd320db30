import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys

import pytest
from mmengine.config import Config

from mmsam_peft import compat

MAINTAINED = {'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6', 'onedl-mmsegmentation': '1.4.2'}
ORIGINAL = {'mmengine': '0.10.7', 'mmcv': '2.2.0', 'mmsegmentation': '1.2.2'}
INSTALL = 'pip install onedl-mmengine onedl-mmcv onedl-mmsegmentation'


@pytest.fixture
def installed(monkeypatch):
    """``installed(distributions, failing, error)`` pretends that these are installed and that
    importing ``failing`` raises."""

    def pretend(distributions, failing=None, error=None):
        def version(name):
            if name not in distributions:
                raise importlib.metadata.PackageNotFoundError(name)
            return distributions[name]

        def import_module(name):
            if name == failing:
                raise error

        monkeypatch.setattr(importlib.metadata, 'version', version)
        monkeypatch.setattr(importlib, 'import_module', import_module)

    return pretend


@pytest.mark.parametrize('distributions', [MAINTAINED, ORIGINAL])
def test_usable_stacks_pass(installed, distributions):
    installed(distributions)
    compat.check_stack()


@pytest.mark.parametrize(
    'distributions, failing, error, parts',
    [
        (
            ORIGINAL,
            'mmseg',
            AssertionError('MMCV==2.2.0 is used but incompatible. Please install mmcv>=2.0.0rc4.'),
            [
                'mmseg cannot be imported: MMCV==2.2.0 is used but incompatible',
                'mmsegmentation 1.2.2',
                'mmcv 2.2.0',
                INSTALL,
            ],
        ),
        (
            ORIGINAL,
            'mmcv',
            ModuleNotFoundError("No module named 'mmcv._ext'"),
            ['mmcv cannot be imported', 'mmcv._ext', INSTALL],
        ),
        (
            {},
            'mmengine',
            ModuleNotFoundError("No module named 'mmengine'"),
            ['no mmengine, no mmcv, no mmseg', INSTALL],
        ),
        (
            MAINTAINED,
            'mmcv',
            ImportError('libGL.so.1: cannot open shared object file: No such file or directory'),
            ['OpenCV needs system libraries', 'apt-get install libgl1 libglib2.0-0', 'libGL.so.1'],
        ),
    ],
)
def test_unusable_stacks_say_what_to_install(installed, distributions, failing, error, parts):
    installed(distributions, failing, error)
    with pytest.raises(ImportError) as caught:
        compat.check_stack()
    assert caught.value.__cause__ is error
    for part in parts:
        assert part in str(caught.value)


def test_two_owners_of_a_folder(installed):
    installed({**MAINTAINED, 'mmcv': '2.1.0'})
    with pytest.raises(
        ImportError,
        match=r"onedl-mmcv 2\.3\.6 and mmcv 2\.1\.0 both own the folder 'mmcv'.*Uninstall both",
    ):
        compat.check_stack()


@pytest.mark.parametrize(
    'distributions, expected', [(MAINTAINED, 'onedl-mmsegmentation'), (ORIGINAL, 'mmsegmentation')]
)
def test_config_packages_are_named(installed, monkeypatch, distributions, expected):
    from mmengine.config import utils

    monkeypatch.setattr(utils, 'MODULE2PACKAGE', {'mmseg': 'mmsegmentation'})
    installed(distributions)
    compat.name_packages()
    assert utils.MODULE2PACKAGE == {'mmseg': expected, 'mmsam_peft': 'mmsam_peft'}


def test_the_lists_of_configs_are_read_once():
    from mmengine.config import utils

    paths = {
        Config._get_cfg_path(f'mmseg::_base_/models/{name}.py', '')[0]
        for name in ('pspnet_r50-d8', 'fcn_hr18')
    }
    read = utils.load.cache_info()
    assert len(paths) == 2 and read.hits >= read.misses > 1


def test_import_stops_with_the_advice(tmp_path):
    """A whole ``import mmsam_peft`` beside an mmseg that refuses its mmcv."""
    (tmp_path / 'mmseg').mkdir()
    (tmp_path / 'mmseg/__init__.py').write_text(
        "raise AssertionError('MMCV==2.2.0 is used but incompatible')"
    )
    code = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); import mmsam_peft'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        'ImportError: mmsam_peft: mmseg cannot be imported: MMCV==2.2.0' in done.stderr
        and INSTALL in done.stderr
    )


@pytest.mark.parametrize('torchvision', [True, False])
def test_segment_anything_without_torchvision(monkeypatch, torchvision):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name: torchvision or None if name == 'torchvision' else find(name),
    )
    monkeypatch.delitem(sys.modules, 'segment_anything', raising=False)
    compat.import_segment_anything()
    assert ('segment_anything' in sys.modules) != torchvision
    if not torchvision:
        assert importlib.import_module('segment_anything.modeling').Sam
