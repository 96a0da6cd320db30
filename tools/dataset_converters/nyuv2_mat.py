"""Unpacks NYU Depth v2.

python tools/dataset_converters/nyuv2_mat.py nyu_depth_v2_labeled.mat splits.mat data/nyuv2

Writes ``img_dir``, ``depth_dir`` (16 bit, millimetres; the filled-in depth) and, with --mapping,
``ann_dir`` (class numbers, 255 = unlabelled), each with the official splits ``train`` and ``test``,
at 640 x 480: the 'folder' layout of NYUv2Dataset.

The file numbers 894 kinds of things. How they become 13 (or 40) classes is not in it: --mapping
takes one or several tables, applied in turn, of which entry i is the class, from 1 on, of number i,
also from 1 on; 0 stands for unlabelled. Tables are ``*.mat`` files with ``mapClass`` (894 to 40) or
``classMapping13`` (40 to 13), as passed around with the set, or text files of whole numbers. Needs
h5py (pip install h5py).
"""

import argparse
from pathlib import Path

import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image
from scipy.io import loadmat

UNLABELLED = 255


def read_table(path: Path) -> np.ndarray:
    """The class of each number, with 0 for 0."""
    if path.suffix == '.mat':
        content = loadmat(path)
        if 'mapClass' in content:
            table = content['mapClass']
        elif 'classMapping13' in content:
            table = content['classMapping13'][0, 0][0]
        else:
            names = ', '.join(name for name in content if not name.startswith('__'))
            raise ValueError(
                f'{path}: got the variables {names}, expected mapClass or classMapping13'
            )
    else:
        table = np.loadtxt(path)
    return np.concatenate([[0], np.ravel(table)]).astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('labeled', type=Path, help='nyu_depth_v2_labeled.mat')
    parser.add_argument('splits', type=Path, help='splits.mat')
    parser.add_argument('out', type=Path)
    parser.add_argument(
        '--mapping', type=Path, nargs='+', default=[], help='classMapping40.mat class13Mapping.mat'
    )
    args = parser.parse_args()
    try:
        import h5py
    except ImportError:
        parser.error(
            'nyu_depth_v2_labeled.mat is an HDF5 file, to be read with h5py: pip install h5py'
        )
    tables, splits = [read_table(path) for path in args.mapping], loadmat(args.splits)

    def save(kind: str, split: str, name: str, pixels: np.ndarray) -> None:
        place = args.out / kind / split
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(place / name)

    with h5py.File(
        args.labeled, 'r'
    ) as data:  # MATLAB's axes come in reverse order: (image, channel, x, y)
        for split in ('train', 'test'):
            for number in track_iter_progress(np.ravel(splits[f'{split}Ndxs']).tolist()):
                name, index = f'{number:04d}', number - 1
                save('img_dir', split, f'{name}.png', data['images'][index].transpose(2, 1, 0))
                save(
                    'depth_dir',
                    split,
                    f'{name}.png',
                    np.rint(1000 * data['depths'][index].T).astype(np.uint16),
                )
                if tables:
                    classes = data['labels'][index].T
                    for table in tables:
                        classes = table[classes]
                    save(
                        'ann_dir',
                        split,
                        f'{name}.png',
                        np.where(classes == 0, UNLABELLED, classes - 1).astype(np.uint8),
                    )
            print()
    if not tables:
        print(
            'no ann_dir: the classes of the 894 numbers are not in the file, pass tables with '
            '--mapping'
        )
    print(
        'normals: tools/dataset_converters/pseudo_normals.py derives pseudo-normals from the depth'
    )


if __name__ == '__main__':
    main()
