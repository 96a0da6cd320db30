import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/nyuv2_mat.py'
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
DEPTHS = RNG.uniform(0.7, 9.9, (4, 6, 8))
LABELS = RNG.integers(0, 6, (4, 6, 8)).astype(np.uint16)
STORED = dict(
    images=IMAGES.transpose(0, 3, 2, 1),
    depths=DEPTHS.transpose(0, 2, 1).astype(np.float32),
    labels=LABELS.transpose(0, 2, 1),
)


class File(dict):
    """What h5py.File gives of the file, by its name alone."""

    def __init__(self, path: Path, mode: str) -> None:
        assert mode == 'r' and path.name == 'nyu_depth_v2_labeled.mat'
        super().__init__(STORED)

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        pass


H5PY = SimpleNamespace(File=File)


@pytest.fixture
def run(monkeypatch, tmp_path):
    savemat(
        tmp_path / 'splits.mat', dict(trainNdxs=np.array([[3], [1]]), testNdxs=np.array([[2], [4]]))
    )

    def call(*arguments, h5py=H5PY) -> Path:
        monkeypatch.setitem(sys.modules, 'h5py', h5py)
        files = [tmp_path / 'nyu_depth_v2_labeled.mat', tmp_path / 'splits.mat', tmp_path / 'out']
        monkeypatch.setattr(sys, 'argv', ['nyuv2_mat.py', *map(str, [*files, *arguments])])
        runpy.run_path(str(TOOL), run_name='__main__')
        return tmp_path / 'out'

    return call


@pytest.fixture
def tables(tmp_path):
    """Numbers 1 .. 5 to 4 classes, and those to 3; 0 is unlabelled in both."""
    first, second = np.array([[4, 2, 0, 1, 3]]), np.array([[2, 0, 1, 3]])
    savemat(tmp_path / 'classMapping40.mat', dict(mapClass=first, className=['a', 'b']))
    names = np.array(['x', 'y', 'z'], dtype=object)
    savemat(
        tmp_path / 'class13Mapping.mat', dict(classMapping13=dict(labels13=second, className=names))
    )
    np.savetxt(tmp_path / 'first.txt', first.ravel(), fmt='%d')
    return tmp_path, {0: 255, 1: 2, 2: 255, 3: 255, 4: 1, 5: 0}


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize('first', ['classMapping40.mat', 'first.txt'])
def test_images_depth_and_classes(run, tables, first):
    place, expected = tables
    out = run('--mapping', place / first, place / 'class13Mapping.mat')
    for split, numbers in dict(train=(1, 3), test=(2, 4)).items():
        assert sorted(path.name for path in (out / 'img_dir' / split).iterdir()) == [
            f'{n:04d}.png' for n in numbers
        ]
        for n in numbers:
            np.testing.assert_array_equal(read(out / f'img_dir/{split}/{n:04d}.png'), IMAGES[n - 1])
            depth = read(out / f'depth_dir/{split}/{n:04d}.png')
            assert depth.dtype == np.uint16
            np.testing.assert_allclose(depth / 1000, DEPTHS[n - 1], atol=0.00051)
            classes = read(out / f'ann_dir/{split}/{n:04d}.png')
            np.testing.assert_array_equal(
                classes, [[expected[v] for v in row] for row in LABELS[n - 1].tolist()]
            )


def test_without_tables_there_are_no_classes(run, capsys):
    out = run()
    assert sorted(path.name for path in out.iterdir()) == ['depth_dir', 'img_dir']
    assert (
        'no ann_dir: the classes of the 894 numbers are not in the file' in capsys.readouterr().out
    )


def test_a_table_of_something_else(run, tmp_path):
    savemat(tmp_path / 'other.mat', dict(names=1))
    with pytest.raises(
        ValueError, match='got the variables names, expected mapClass or classMapping13'
    ):
        run('--mapping', tmp_path / 'other.mat')


def test_without_h5py(run, capsys):
    with pytest.raises(SystemExit):
        run(h5py=None)
    assert 'to be read with h5py: pip install h5py' in capsys.readouterr().err
