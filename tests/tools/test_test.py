from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsam_peft.apis.inference import inference_model, init_model


def test_scores_are_those_of_the_masks_written(tested, scores, data):
    place, log = tested
    dice, iou = [], []
    for truth in sorted(data.glob('ann_dir/test/*.png')):
        a, b = (
            np.array(Image.open(place / 'masks' / truth.name)) == 1,
            np.array(Image.open(truth)) == 255,
        )
        dice.append(200 * (a & b).sum() / (a.sum() + b.sum()))
        iou.append(100 * (a & b).sum() / (a | b).sum())
    assert 0 < np.mean(dice) < 100
    assert scores(log)['Dice'] == pytest.approx(np.mean(dice), abs=1e-3)
    assert scores(log)['IoU'] == pytest.approx(np.mean(iou), abs=1e-3)


def test_writes_a_picture_of_each_image(tested):
    pictures = sorted((tested[0] / 'pictures').rglob('*.png'))
    assert [path.name for path in pictures] == [f'test_{i}_0.png' for i in range(3)]
    assert Image.open(pictures[0]).size[0] >= 3 * 150
    report = (tested[0] / 'log' / 'report.html').read_text()
    assert 'On the test set' in report and '3 test images' in report


@pytest.mark.slow
def test_adapter_and_checkpoint_give_the_same_scores(start, scores, trained, config, tmp_path):
    (checkpoint,) = trained.glob('best_Dice_epoch_*.pth')
    adapter = trained / 'adapter_best.safetensors'
    no_training_data = ['--cfg-options', 'train_dataloader.dataset.data_root=none']
    options = ['--work-dir', tmp_path, *no_training_data]
    one, other = (
        scores(start('test.py', config, weights, *options).stdout)
        for weights in (checkpoint, adapter)
    )
    assert one == pytest.approx(other, abs=0.2), 'rounding may move a pixel'
    assert not list(tmp_path.rglob('*.png'))


def test_augmentation_averages_both_flips(call, adapter, config, data, tmp_path):
    call('test.py', config, adapter, '--work-dir', tmp_path, '--tta', '--out', tmp_path / 'masks')
    model = init_model(config, adapter, device='cpu')
    for path in data.glob('img_dir/test/*.png'):
        views = [
            np.array(Image.open(path))[..., ::-1],
            np.array(Image.open(path))[:, ::-1, ::-1],
        ]  # RGB -> BGR, and flipped
        plain, flipped = (
            inference_model(model, np.ascontiguousarray(view)).seg_logits.data.numpy()[0]
            for view in views
        )
        expected = (plain + flipped[:, ::-1]) / 2
        decided = (
            abs(expected - 0.5) > 1e-3
        )  # a sure yes and a sure no come to 0.5, and rounding decides
        assert decided.mean() > 0.5
        np.testing.assert_array_equal(
            np.array(Image.open(tmp_path / 'masks' / path.name))[decided], (expected > 0.5)[decided]
        )


@pytest.mark.slow
def test_bfloat16(start, tested, scores, adapter, config, tmp_path):
    """Other roundings than in float32, seen in the probabilities; nearly the same scores."""
    hook = (
        'from mmengine.hooks import Hook\nfrom mmsam_peft.registry import '
        'HOOKS\n\n@HOOKS.register_module()\n'
        'class Neck(Hook):\n    def before_test(self, runner):\n        '
        'runner.model.backbone.neck[0].register_forward_hook('
        "lambda module, inputs, output: print('neck', output.dtype))\n"
    )
    (tmp_path / 'seen.py').write_text(hook)
    (tmp_path / 'config.py').write_text(
        f"_base_ = '{config}'\ncustom_imports = dict(imports=['seen'])\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='Neck')]\n"
    )
    options = ['--work-dir', tmp_path, '--amp', '--out', tmp_path / 'masks']
    log = start(
        'test.py',
        tmp_path / 'config.py',
        adapter,
        *options,
        PYTHONPATH=str(tmp_path),
    ).stdout
    assert log.count('neck torch.bfloat16') == 3 and 'neck torch.float32' not in log
    assert scores(log)['Dice'] == pytest.approx(scores(tested[1])['Dice'], abs=2)
    assert len(list(tmp_path.glob('masks/*.png'))) == 3


def test_refuses_a_truncated_adapter(call, adapter, config, tmp_path):
    whole = adapter.read_bytes()
    (tmp_path / 'cut.safetensors').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match='cut.safetensors is not a readable safetensors file .*copy it again'
    ):
        call('test.py', config, tmp_path / 'cut.safetensors', '--work-dir', tmp_path / 'log')


@pytest.mark.parametrize(
    'options, message',
    [
        (
            ['model.backbone.peft.rank=5'],
            'another peft: the file has rank=3, this model rank=5. Use the config',
        ),
        (
            ['model.backbone.arch.depth=3', 'model.checkpoint=None'],
            'another arch: the file has depth=2, this model depth=3',
        ),
        (
            [
                'model.decode_head.num_classes=3',
                'model.decode_head.num_queries=6',
                'model.decode_head.loss_decode.type=SetPredictionLoss',
            ],
            'another head: the file has num_classes=2',
        ),
        (
            ['model.checkpoint=None'],
            'another base: .*Set model.checkpoint to the weights it was trained on',
        ),
    ],
)
def test_refuses_an_adapter_of_another_model(call, adapter, config, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        call(
            'test.py',
            config,
            adapter,
            '--work-dir',
            tmp_path,
            '--cfg-options',
            *options,
        )


def test_absent_weights(call, config, tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match='no file nothing.safetensors; training writes adapter_best.safetensors',
    ):
        call('test.py', config, 'nothing.safetensors', '--work-dir', tmp_path)


def test_adapter_for_a_model_that_takes_none(call, adapter, tmp_path):
    other = Path(__file__).parents[2] / 'configs/segformer/kvasir_b0.py'
    with pytest.raises(
        ValueError, match='adapter file, but the model of this config is a EncoderDecoder'
    ):
        call('test.py', other, adapter, '--work-dir', tmp_path)
