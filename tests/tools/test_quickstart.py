"""The embedded default, in small: fewer images, one epoch, otherwise as a newcomer runs it."""

import shlex
from pathlib import Path

import pytest
from PIL import Image

from mmsam_peft.apis import read_header
from mmsam_peft.safe_load import ASSETS

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / 'configs'
COUNTS = dict(train=16, val=4, test=4)


def test_base_weights_are_small():
    assert {path.name for path in ASSETS.iterdir() if path.stat().st_size < 6e6} == {
        'quickstart.safetensors',
        'quickstart_hiera.safetensors',
        'quickstart_prompts.safetensors',
    }


@pytest.mark.parametrize(
    'method, kind', [('convlora', 'ConvLoRA'), ('lora', 'LoRA'), ('decoder_only', 'Frozen')]
)
def test_trains_tests_and_predicts(start, scores, tmp_path_factory, method, kind):
    data, work = tmp_path_factory.getbasetemp() / 'quickstart', tmp_path_factory.mktemp(method)
    config = CONFIGS / method / 'quickstart.py'
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'param_scheduler.1.end=1']
    for part, count in COUNTS.items():
        options += [
            f'{part}_dataloader.dataset.data_root={data}',
            f'{part}_dataloader.dataset.num_images={count}',
        ]
    shown = start('train.py', config, '--work-dir', work, *options).stdout
    log = next(work.glob('*/*.log')).read_text()
    assert 'SAMViT: 93 tensors loaded, 0 of them resized, 0 missing, 0 unused' in log
    assert 'SAMMaskHead: 98 tensors loaded, 0 of them resized, 0 missing, 0 unused' in log
    assert 'left: ' in shown and 'SAMViT: 93 tensors' not in shown
    assert list(work.glob('*/vis_data/vis_image/val_*.png'))
    adapter = work / 'adapter_best.safetensors'
    header = read_header(adapter)
    assert header['peft']['type'] == kind and header['classes'] == ['background', 'road']
    assert adapter.stat().st_size < 2.1e6

    called = next(line for line in shown.splitlines() if 'tools/test.py' in line)
    left, file = shlex.split(called)[2:]  # the config with the options
    assert (left, file) == (str(work / 'quickstart.py'), str(adapter))
    tested = scores(start('test.py', left, file, '--work-dir', work / 'test').stdout)
    assert 20 < tested['Dice'] <= 100  # of 8 % road in an image, guessing gets 15
    start('predict.py', config, adapter, data / 'img_dir/test', '--out-dir', work / 'out')
    masks = sorted((work / 'out/masks').glob('*.png'))
    assert len(masks) == COUNTS['test'] and Image.open(masks[0]).size == (256, 256)


def test_with_prompts(start, scores, tmp_path_factory):
    """Trained on prompts, and asked by the robot user."""
    data, work = tmp_path_factory.getbasetemp() / 'quickstart', tmp_path_factory.mktemp('prompts')
    options = ['--epochs', 1, '--cfg-options', 'prompts.rounds=2']
    options += ['model.checkpoint=mmsam_peft://quickstart_prompts']
    for part, count in COUNTS.items():
        options += [
            f'{part}_dataloader.dataset.data_root={data}',
            f'{part}_dataloader.dataset.num_images={count}',
        ]
    start('train.py', CONFIGS / 'lora' / 'quickstart.py', '--work-dir', work, *options)
    log = next(work.glob('*/*.log')).read_text()
    assert 'SAMMaskHead: 137 tensors loaded, 0 of them resized, 0 missing, 0 unused' in log
    adapter = work / 'adapter_best.safetensors'
    tested = start(
        'test.py', work / 'quickstart.py', adapter, '--clicks', '--work-dir', work / 'test'
    ).stdout
    found = scores(tested)
    assert 20 < found['Dice'] <= 100 and 10 < found['IoU@box'] <= 100
    assert 1 <= found['NoC@85'] <= found['NoC@90'] <= 20


def test_in_the_shape_of_sam_2(start, tmp_path_factory):
    data, work = tmp_path_factory.getbasetemp() / 'quickstart', tmp_path_factory.mktemp('hiera')
    options = ['--encoder', 'small_hiera', '--epochs', 1, '--cfg-options']
    for part, count in COUNTS.items():
        options += [
            f'{part}_dataloader.dataset.data_root={data}',
            f'{part}_dataloader.dataset.num_images={count}',
        ]
    start('train.py', CONFIGS / 'convlora' / 'quickstart.py', '--work-dir', work, *options)
    log = next(work.glob('*/*.log')).read_text()
    assert 'Hiera: 103 tensors loaded, 0 of them resized, 0 missing, 0 unused' in log
    header = read_header(work / 'adapter_best.safetensors')
    assert header['base_weights']['name'] == 'mmsam_peft://quickstart_hiera'
    start('predict.py', work / 'adapter_best.safetensors', data / 'img_dir/val', '--out-dir', work)
    assert len(list((work / 'masks').glob('*.png'))) == COUNTS['val']
