"""The converters of archives."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_files import write_layout

from mmsam_peft.apis.verify_data import verify_data
from mmsam_peft.datasets import CamVidDataset, DatasetError, PolypDataset, check_dataset
from mmsam_peft.datasets.camvid_archive import COLOURS, eleven_classes, split_of, unpack_camvid
from mmsam_peft.datasets.csv_archive import unpack_csv

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/datasets'


@pytest.fixture
def archive(write, tmp_path):
    """AutoGluon's layout: tables with an index column; two images of one name."""
    for table in ('train', 'val', 'test_Kvasir', 'test_CVC-ClinicDB', 'test_ETIS'):
        rows = []
        for folder in ('a', 'b'):
            image, label = f'{table}/{folder}/images/1.jpg', f'{table}/{folder}/masks/1.png'
            write(f'polyp/{image}', np.zeros((4, 4, 3), np.uint8))
            write(f'polyp/{label}', 255 * np.eye(4, dtype=np.uint8))
            rows.append([len(rows), image, label])
        with (tmp_path / f'polyp/{table}.csv').open('w', newline='') as file:
            csv.writer(file).writerows([['', 'image', 'label'], *rows])
    return tmp_path / 'polyp'


def test_csv_archive(archive, tmp_path):
    out = tmp_path / 'out'
    counts = unpack_csv(archive, out, ['Kvasir', 'CVC-612=CVC-ClinicDB'])
    assert counts == {'test/CVC-612': 2, 'test/Kvasir': 2, 'train': 2, 'val': 2}
    for split in ('train', 'val', 'test'):
        dataset = PolypDataset(split=split, data_root=str(out), val_share=0.1)
        check_dataset(dataset, 2)
        assert len(dataset) == (4 if split == 'test' else 2)
    assert set(dataset.metainfo['sets']) == {'Kvasir', 'CVC-612'}


def test_csv_archive_faults(archive, tmp_path):
    with pytest.raises(DatasetError, match='got no train.csv'):
        unpack_csv(tmp_path, tmp_path / 'out')
    with pytest.raises(DatasetError, match='got no test_CAMO.csv'):
        unpack_csv(archive, tmp_path / 'out', ['CAMO'])
    (archive / 'val.csv').write_text('picture,label\n')
    with pytest.raises(DatasetError, match='got the columns picture, label'):
        unpack_csv(archive, tmp_path / 'out')
    (archive / 'val.csv').unlink()
    (archive / 'train/b/masks/1.png').unlink()
    with pytest.raises(DatasetError, match='1 files that are not there, the first train/b/masks'):
        unpack_csv(archive, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


FRAMES = [
    *[f'0001TP_{number:06d}' for number in range(6690, 10381, 30)],
    *[f'0006R0_f{number:05d}' for number in range(930, 3931, 30)],
    *[f'0016E5_{number:05d}' for number in (*range(390, 8641, 30), *range(7959, 8160, 2))],
    *[f'Seq05VD_f{number:05d}' for number in range(0, 5101, 30)],
]


def test_camvid_splits():
    """SegNet's lists: 62 + 171 test frames, 101 to validate on."""
    assert sum(split_of(name) == 'test' for name in FRAMES) == 62 + 171
    assert sum(split_of(name) == 'val' for name in FRAMES) == 101
    known = ['0001TP_008520', '0001TP_008550', '0016E5_07960', '0016E5_07959', '0016E5_08161']
    assert [split_of(name) for name in known] == ['train', 'test', 'train', 'val', 'train']


def test_camvid_archive(write, tmp_path, monkeypatch):
    """Each colour becomes its class; other colours are unlabelled."""
    assert len({colour for same in COLOURS.values() for colour in same}) == 31
    classes = CamVidDataset.METAINFO['classes']
    colours = np.array([[same[-1] for same in COLOURS.values()] + [(0, 0, 0)]], np.uint8)
    assert list(COLOURS) == list(classes)
    assert eleven_classes(colours).tolist() == [[*range(11), 255]]

    monkeypatch.setattr('mmsam_peft.datasets.camvid_archive.COUNTS', dict(train=1, val=1, test=1))
    for name in ('0006R0_f00930', '0016E5_07959', 'Seq05VD_f00000'):
        write(f'raw/{name}.png', np.zeros((1, 12, 3), np.uint8))
        write(f'masks/{name}_L.png', colours)
    out = tmp_path / 'out'
    assert len(list(unpack_camvid(tmp_path / 'raw', tmp_path / 'masks', out))) == 3
    stored = Image.open(out / 'ann_dir/val/0016E5_07959.png')
    assert np.asarray(stored).tolist() == [[*range(11), 255]]
    (tmp_path / 'masks/0016E5_07959_L.png').unlink()
    with pytest.raises(DatasetError, match='1 without a mask .* the first 0016E5_07959'):
        list(unpack_camvid(tmp_path / 'raw', tmp_path / 'masks', out))


def test_verifying_names_all_that_is_wrong(write, tmp_path):
    """Counts and a mask of another size at once; and splits that are well."""
    write_layout(tmp_path, PolypDataset)
    config = CONFIGS / 'polyp.py'
    mask = next((tmp_path / 'TestDataset/Kvasir/masks').iterdir())
    write(str(mask.relative_to(tmp_path)), np.zeros((3, 3), np.uint8))
    found = {split: (text, good) for split, text, good in verify_data(config, str(tmp_path))}
    assert not any(good for _, good in found.values())
    assert '4 of 1450 images' in found['train'][0] and 'TrainDataset/images' in found['train'][0]
    assert '4 of 100 images' in found['test'][0] and '3 x 3' in found['test'][0]
    lost = dict(enumerate(verify_data(config, str(tmp_path / 'none'))))
    assert all('no folder' in text and not good for _, text, good in lost.values())


def test_verifying_a_complete_set(write_pair, tmp_path):
    for split in ('train', 'val', 'test'):
        write_pair('a', split=split)
    config = CONFIGS / 'kvasir.py'
    assert all(good for _, _, good in verify_data(config, str(tmp_path)))
