"""Published data sets in every layout that people have, on generated files."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from published_files import write_layout

from mmsam_peft.datasets import (
    CamouflageDataset,
    CamVidDataset,
    DatasetError,
    ISIC2017Dataset,
    KvasirDataset,
    LeafDataset,
    PolypDataset,
    PublishedDataset,
    RoadsDataset,
    SBUDataset,
    Trans10KV1Dataset,
    Trans10KV2Dataset,
    check_dataset,
)
from mmsam_peft.datasets.held_out import held_out
from mmsam_peft.datasets.published import expanded, listed

KINDS = {
    CamouflageDataset: dict(train=4040, test=2276),
    CamVidDataset: dict(train=367, val=101, test=233),
    ISIC2017Dataset: dict(train=2000, val=150, test=600),
    KvasirDataset: dict(train=900, test=100),
    LeafDataset: dict(train=498, test=90),
    PolypDataset: dict(train=1450, test=162),
    RoadsDataset: dict(train=1108, val=14, test=49),
    SBUDataset: dict(train=4085, test=638),
    Trans10KV1Dataset: dict(train=5000, val=1000, test=4428),
    Trans10KV2Dataset: dict(train=5000, val=1000, test=4428),
}
"""Published numbers of images."""
LAYOUTS = [(kind, number) for kind in KINDS for number in range(len(kind.layouts))]
WITH_TEST_SETS = {
    PolypDataset: {'Kvasir', 'CVC-612'},
    CamouflageDataset: {'CAMO', 'COD10K'},
    Trans10KV1Dataset: {'easy', 'hard'},
}


def splits(kind: type[PublishedDataset], root, **settings) -> dict[str, PublishedDataset]:
    usual = dict(data_root=str(root), allow_partial=True, val_share=0.25, serialize_data=False)
    return {split: kind(split=split, **(usual | settings)) for split in ('train', 'val', 'test')}


def images(dataset: PublishedDataset, root) -> set[str]:
    return {sample['img_path'].removeprefix(f'{root}/') for sample in dataset}


def masks_of(dataset: PublishedDataset) -> list[str]:
    return [dataset.get_data_info(index)['seg_map_path'] for index in range(len(dataset))]


def test_these_are_all():
    def below(kind):
        return {kind}.union(*map(below, kind.__subclasses__()))

    assert below(PublishedDataset) - {PublishedDataset} == set(KINDS)


@pytest.mark.parametrize('kind, layout', LAYOUTS)
def test_every_layout(kind, layout, tmp_path):
    """Whatever names its folders have, all images are found with their masks, each in one split."""
    parts = [part for parts in kind.layouts[layout].values() for part in parts]
    names = max(len(list(expanded(path))) for part in parts for path in part[:2])
    for alternative in sorted({0, names // 2, names - 1}):
        root = tmp_path / str(alternative)
        written = write_layout(root, kind, layout, alternative)
        found = splits(kind, root)
        for split, dataset in found.items():
            if not alternative:
                check_dataset(dataset, num_classes=len(kind.METAINFO['classes']), training=False)
            assert not dataset.problems and all(map(os.path.isfile, masks_of(dataset)))
            assert len(dataset) == len(images(dataset, root)), split
        by_split = {split: images(dataset, root) for split, dataset in found.items()}
        assert by_split['test'] == written['test']
        if 'val' in written:
            assert by_split['train'] == written['train'] and by_split['val'] == written['val']
        else:
            held = len(written['train']) // 4
            assert len(by_split['val']) == held and not by_split['val'] & by_split['train']
            assert by_split['val'] | by_split['train'] == written['train']
        sets = found['test'].metainfo.get('sets', {})
        assert set(sets) <= WITH_TEST_SETS.get(kind, set())
        assert all(
            any(path.startswith(f'{folder}/') for folder in sets.values())
            for path in ([sample['img_path'] for sample in found['test']] if sets else [])
        )


@pytest.mark.parametrize('kind', WITH_TEST_SETS)
def test_test_sets_have_names(kind, tmp_path):
    write_layout(tmp_path, kind)
    assert set(splits(kind, tmp_path)['test'].metainfo['sets']) == WITH_TEST_SETS[kind]


@pytest.mark.parametrize('kind, counts', KINDS.items())
def test_published_counts(kind, counts, tmp_path):
    for layout in kind.layouts:
        for split, parts in layout.items():
            known = kind.totals.get(split) or sum(part.count or 0 for part in parts)
            assert known in (0, counts.get(split)), (split, layout)
    first = kind.layouts[0] if kind is not KvasirDataset else kind.layouts[1]
    assert kind.totals or all(part.count for parts in first.values() for part in parts)


def test_published_splits():
    assert (len(listed('pranet_kvasir_test')), len(listed('pranet_cvc_test'))) == (100, 62)
    assert all(1 <= int(name) <= 612 for name in listed('pranet_cvc_test'))


@pytest.mark.parametrize('kind', KINDS)
def test_partial_sets_show_the_tree(kind, tmp_path):
    """A set that is absent, one without a folder, one with too few images."""
    layout = 1 if kind is KvasirDataset else 0
    part = kind.layouts[layout]['train'][0]
    with pytest.raises(DatasetError, match='is not complete') as error:
        kind(data_root=str(tmp_path / 'none'))
    write_layout(tmp_path, kind, layout)
    with pytest.raises(DatasetError, match='is not complete') as partial:
        kind(data_root=str(tmp_path))
    assert 'allow_partial=True' in str(partial.value) and ' of ' in str(partial.value)
    shutil.rmtree(tmp_path / next(expanded(part.masks)))
    with pytest.raises(DatasetError, match=f'no folder .*{part.masks.split("/")[-1]}') as lost:
        kind(data_root=str(tmp_path), allow_partial=True)
    for one in (error, partial, lost):
        text = str(one.value)
        assert 'docs/prepare_datasets.md' in text and next(expanded(part.images)) in text


def test_no_validation_part(tmp_path):
    """All images are trained on, the test images are validated on."""
    written = write_layout(tmp_path, PolypDataset)
    found = splits(PolypDataset, tmp_path, val_share=0)
    assert images(found['train'], tmp_path) == written['train']
    assert images(found['val'], tmp_path) == images(found['test'], tmp_path) == written['test']


def test_held_out_images_stay_the_same():
    """A checkpoint's validation set is that of other machines, and of other years."""
    names = [f'{i}' for i in range(1, 21)]
    assert held_out(names, 0.2) == held_out(names[::-1], 0.2) == {'8', '9', '13', '17'}
    assert not held_out(names, 0) and len(held_out(names, 0.001)) == 1
    assert len(held_out(['a', 'b'], 0.99)) == 1
    with pytest.raises(DatasetError, match='got 1 training images'):
        held_out(['a'], 0.1)
    for share in (-0.1, 1, float('nan')):
        with pytest.raises(ValueError, match='val_share'):
            PolypDataset(val_share=share, lazy_init=True)
    with pytest.raises(ValueError, match="split='vall'"):
        PolypDataset(split='vall', lazy_init=True)


def test_all_splits_come_from_one_layout(tmp_path):
    """Else the training images of one could be the test images of another."""
    write_layout(tmp_path, PolypDataset, 1)
    (tmp_path / 'TrainDataset/images').mkdir(parents=True)
    (tmp_path / 'TrainDataset/masks').mkdir()
    found = splits(PolypDataset, tmp_path)
    assert all('Kvasir-SEG' in next(iter(found[split]))['img_path'] for split in found)


def test_superpixels_are_no_images(tmp_path):
    write_layout(tmp_path, ISIC2017Dataset)
    folder = tmp_path / 'ISIC-2017_Training_Data'
    for image in list(folder.iterdir()):
        shutil.copy(image, image.with_name(f'{image.stem}_superpixels.png'))
    (folder / 'ISIC-2017_Training_Data_metadata.csv').write_text('image_id')
    found = splits(ISIC2017Dataset, tmp_path)['train']
    check_dataset(found, 2)
    assert len(found) == 4


def test_jpeg_masks_and_names_in_capitals(tmp_path):
    write_layout(tmp_path, KvasirDataset, 1, jpeg=True)
    (tmp_path / 'Kvasir-SEG').rename(tmp_path / 'KVASIR-seg')
    (tmp_path / 'KVASIR-seg/masks').rename(tmp_path / 'KVASIR-seg/Masks')
    (tmp_path / 'KVASIR-seg/kavsir_bboxes.json').write_text('{}')
    found = splits(KvasirDataset, tmp_path)
    check_dataset(found['train'], 2)
    assert len(found['test']) == 4


def test_images_without_an_object_are_left_out(tmp_path):
    """COD10K's archive has them; CAMO's masks of both splits share a folder."""
    write_layout(tmp_path, CamouflageDataset, 1)
    folder = tmp_path / 'COD10K-v3/Train/Image'
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / 'COD10K-NonCAM-1.jpg')
    found = splits(CamouflageDataset, tmp_path)['train']
    check_dataset(found, 2)
    assert not [path for path in images(found, tmp_path) if 'NonCAM' in path]


def test_cod10k_may_be_absent(tmp_path):
    write_layout(tmp_path, CamouflageDataset)
    shutil.rmtree(tmp_path / 'TestDataset/COD10K')
    assert set(splits(CamouflageDataset, tmp_path)['test'].metainfo['sets']) == {'CAMO'}


def test_folders_of_your_own(tmp_path):
    """``data_prefix`` takes the place of all layouts."""
    write_layout(tmp_path, LeafDataset)
    prefix = dict(img_path='valid_images', seg_map_path='valid_masks')
    found = LeafDataset(data_root=str(tmp_path), data_prefix=prefix, split='train')
    check_dataset(found, 2)
    assert len(found) == 4


def test_other_grey_values_of_trans10k(tmp_path):
    """The mean of the channels says the class, another mean is an error."""
    write_layout(tmp_path, Trans10KV1Dataset)
    mask = next((tmp_path / 'train/masks').iterdir())
    Image.fromarray(np.full((16, 16, 3), 85, np.uint8)).save(mask)
    check_dataset(splits(Trans10KV1Dataset, tmp_path, val_share=0)['train'], 3)
    Image.fromarray(np.full((16, 16, 3), 86, np.uint8)).save(mask)
    with pytest.raises(DatasetError, match='86'):
        check_dataset(splits(Trans10KV1Dataset, tmp_path)['train'], 3)
