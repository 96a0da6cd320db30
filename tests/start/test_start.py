"""From generated images and masks to a config that is short, loads, and passes a run's checks."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmsam_peft.datasets import DatasetError
from mmsam_peft.start.start import Request, start

COUNT, SIDE = 12, 96


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def redraw(data: Path, change) -> None:
    """Writes each mask anew, as ``change`` makes it."""
    for path in (data / 'masks').iterdir():
        save(path, change(np.asarray(Image.open(path))))


def names(path: Path) -> set[str]:
    return {line.split('\t')[0] for line in path.read_text().splitlines()}


def test_several_classes(begin, checked, data, tmp_path):
    path, said = begin(classes=('disc', 'square'))
    cfg = checked(path)
    dataset = cfg.train_dataloader.dataset
    assert dataset.metainfo.classes == ('background', 'disc', 'square')
    assert cfg.model.decode_head.num_classes == 3 and cfg.val_evaluator.type == 'IoUMetric'
    assert cfg.model.data_preprocessor.size == (256, 256) and cfg.batch_size == 4
    parts = [names(path.parent / f'{part}.txt') for part in ('train', 'val', 'test')]
    assert list(map(len, parts)) == [8, 2, 2] and len(set.union(*parts)) == COUNT
    masks = np.stack([np.asarray(Image.open(path)) for path in (data / 'masks').iterdir()])
    for number, name in enumerate(('background', 'disc', 'square')):
        assert f'{name} {(masks == number).mean():.2%}' in said
    assert f'12: {SIDE} x {SIDE}; RGB PNG' in said and '8 train, 2 val, 2 test' in said
    assert said.endswith(f'python tools/train.py {path}')


def test_the_name_of_the_data_is_above_folders_of_images(begin, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = (
        (data / old).rename(data / new)
        for old, new in (('images', 'img_dir'), ('masks', 'ann_dir'))
    )
    path, _ = begin(images=images, labels=labels, out=None)
    assert path == Path('my_configs/shapes/convlora.py')


@pytest.mark.parametrize(
    'change, values',
    [
        (lambda mask: mask == 1, 'index'),
        (lambda mask: 255 * (mask > 0), 'binary255'),
        (
            lambda mask: np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]])[mask],
            [[0] * 3, [0, 0, 255], [255, 0, 0]],
        ),
    ],
)
def test_mask_values(begin, checked, data, change, values):
    redraw(data, change)
    cfg = checked(begin()[0])
    assert cfg.train_dataloader.dataset.mask_values == values
    assert len(cfg.train_dataloader.dataset.metainfo.classes) == (
        3 if isinstance(values, list) else 2
    )


def test_the_config_moves_with_the_data(begin, checked, data, tmp_path, monkeypatch):
    path, _ = begin()
    assert str(tmp_path) not in path.read_text().partition('\n')[2]
    (tmp_path / 'elsewhere').mkdir()
    for folder in (data, path.parent):
        shutil.move(folder, tmp_path / 'elsewhere' / folder.name)
    monkeypatch.chdir('/')
    checked(tmp_path / 'elsewhere' / 'out' / path.name)


def test_small_things_get_windows(begin, checked, data, tmp_path):
    """Cells of 6 px in images of 1200: in 256 px, a third of a cell of the mask."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        shutil.rmtree(data / folder)
    for i in range(4):
        mask = np.zeros((1200, 1200), np.uint8)
        for top, left in rng.integers(0, 1190, (200, 2)):
            mask[top : top + 6, left : left + 6] = 1
        save(data / f'images/{i}.png', np.stack([90 + 99 * mask] * 3, -1))
        save(data / f'masks/{i}.png', mask)
    path, said = begin(image_size=256)
    cfg = checked(path)
    assert cfg.model.test_cfg == dict(mode='slide', crop_size=(256, 256), stride=(170, 170))
    assert cfg.windows == 2.0 and 'windows: in whole images of this size' in said
    path, _ = begin(image_size=1024, out=tmp_path / 'large')
    assert checked(path).windows == 2.0


def test_folders_of_a_split_stay(begin, checked, data, tmp_path):
    for i, path in enumerate(sorted((data / 'images').iterdir())):
        part = 'val' if i < 3 else 'train'
        for folder, name in (('images', path.name), ('masks', f'{path.stem}_mask.png')):
            target = data / part / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(data / folder / name, target)
    path, said = begin()
    cfg = checked(path)
    assert len(names(path.parent / 'val.txt')) == 3 and 'Split    9 train, 3 val' in said
    assert cfg.test_dataloader.dataset.ann_file == cfg.val_dataloader.dataset.ann_file
    assert '8 train, 2 val, 2 test' in begin(resplit=True, overwrite=True)[1]


def test_odd_files_are_left_out_and_named(begin, checked, data):
    (data / 'images/03.png').write_bytes(b'no image')
    save(data / 'masks/04_mask.png', np.ones((5, 5)))
    (data / 'masks/05_mask.png').unlink()
    (data / 'masks/99_mask.png').write_bytes((data / 'masks/00_mask.png').read_bytes())
    (data / 'images/07.png').write_bytes((data / 'images/06.png').read_bytes())
    path, said = begin()
    checked(path)
    parts = {part: names(path.parent / f'{part}.txt') for part in ('train', 'val', 'test')}
    assert set.union(*parts.values()) == {
        f'{i:02d}.png' for i in range(COUNT) if i not in (3, 4, 5)
    }
    assert any({'06.png', '07.png'} <= names for names in parts.values())
    left_out = (path.parent / 'left_out.txt').read_text()
    assert all(f'{i:02d}.png\t' in left_out for i in (3, 4, 5))
    for word in ('3 images are left out', '1 mask (99_mask.png) without', '06.png = 07.png'):
        assert word in said


def test_an_existing_config_stays(begin, checked):
    path, _ = begin()
    begin()  # the same again is no change
    path.write_text('mine')
    with pytest.raises(FileExistsError, match='is there already'):
        begin()
    assert path.read_text() == 'mine'
    begin(overwrite=True)
    checked(path)


def test_faults_are_named_before_anything_is_written(begin, checked, data, tmp_path):
    with pytest.raises(DatasetError, match='expected 3 different names'):
        begin(classes=('road', 'car', 'tree', 'sky'))
    with pytest.raises(ValueError, match='--encoder giant: .* is unknown: there are sam_vit_b'):
        begin(encoder='giant')
    with pytest.raises(ValueError, match='there is no such file'):
        begin(encoder='sam_vit_b', checkpoint=Path('absent.pth'))
    (data.parent / 'empty').mkdir()
    with pytest.raises(DatasetError, match='there are no images'):
        begin(images=data.parent / 'empty')
    redraw(data, lambda mask: 0 * mask)
    with pytest.raises(DatasetError, match='got only the value 0 in all masks'):
        begin()
    assert not (tmp_path / 'out').exists()


def test_a_doubt_is_asked_or_told(begin, checked, data, tmp_path):
    redraw(data, lambda mask: np.array([0, 128, 255])[mask])
    assert 'is each a class of its own?' in begin()[1]
    request = Request(data, out=tmp_path / 'asked', encoder='small', timing=False)
    path = start(request, lambda line: None, lambda question: 'binary01')
    assert checked(path).train_dataloader.dataset.mask_values == 'binary01'


def test_classes_of_a_list_beside_the_data(begin, checked, data):
    listed = 'sky,0,0,0\r\ncar,255,0,0\r\ntree,0,0,255\r\n'  # as Windows writes it
    (data / 'class_dict.csv').write_text(listed, 'utf-8-sig')
    redraw(data, lambda mask: np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]])[mask])
    path, said = begin()
    assert checked(path).train_dataloader.dataset.metainfo.classes == ('sky', 'tree', 'car')
    assert 'from class_dict.csv' in said


def test_deep_images_and_bands(begin, checked, data):
    """16 bits of four bands, whose values lie between 1000 and 2000."""
    for path in sorted((data / 'images').iterdir()):
        rgb = np.asarray(Image.open(path)).astype(np.uint16)
        deep = 1000 + 4 * np.concatenate([rgb, rgb[..., :1]], -1)
        tifffile.imwrite(
            path.with_suffix('.tif'), deep, photometric='minisblack', planarconfig='contig'
        )
        path.unlink()
    path, said = begin()
    cfg = checked(path)
    low, high = cfg.pixels['low'], cfg.pixels['high']
    assert cfg.pixels['dtype'] == 'uint16' and len(low) == len(high) == 4
    assert all(1000 <= one < 1400 for one in low) and all(1400 < one <= 2024 for one in high)
    assert '16-bit whole numbers (uint16) in 4 bands TIFF' in said
    cfg = checked(begin(bands=(3, 2, 1), overwrite=True)[0])
    assert cfg.pixels['bands'] == [3, 2, 1] and cfg.model.backbone.get('in_channels', 3) == 3
