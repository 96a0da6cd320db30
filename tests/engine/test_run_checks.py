from types import SimpleNamespace

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmseg.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss
from torch import nn
from torch.utils.data import DataLoader

from mmsam_peft.engine.run_checks import (
    check_channels,
    check_config,
    check_ignored,
    check_length,
    check_losses,
    check_prompts,
)
from mmsam_peft.models.losses import StructureLoss
from mmsam_peft.registry import MODELS


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'train_dataloader.batch_size': 0},
            'train_dataloader.batch_size=0: expected a whole number of images, at least 1',
        ),
        ({'val_dataloader.batch_size': 1.5}, r'val_dataloader.batch_size=1.5'),
        ({'test_dataloader.num_workers': -1}, 'test_dataloader.num_workers=-1'),
        (
            {'train_dataloader.persistent_workers': True},
            'num_workers=0 and persistent_workers=True.*persistent_workers=False too',
        ),
        ({'train_dataloader.prefetch_factor': 2}, 'prefetch_factor=2, but there are no workers'),
        (
            {'model.test_cfg': dict(mode='slide', crop_size=(64, 64), stride=(64, 65))},
            r'stride=\(64, '
            r'65\) is above '
            r'crop_size',
        ),
        (
            {'model.test_cfg': dict(mode='slide', crop_size=(64, 64))},
            "mode='slide' and stride=None: expected two whole",
        ),
        (
            {'model.test_cfg': dict(mode='slide', crop_size=64, stride=(64, 64))},
            'crop_size=64: expected two whole',
        ),
    ],
)
def test_settings_that_cannot_work(tiny, options, message):
    check_config(tiny())
    check_config(tiny({'model.test_cfg': dict(mode='slide', crop_size=(64, 64), stride=(64, 42))}))
    with pytest.raises(ValueError, match=message):
        check_config(tiny(options))


def test_nothing_to_train_on():
    def loader(images, batch_size, drop_last=True, sampler=DefaultSampler):
        data = list(range(images))
        return DataLoader(data, batch_size, sampler=sampler(data), drop_last=drop_last)

    for fits in (
        loader(4, 4),
        loader(3, 4, drop_last=False),
        loader(3, 4, sampler=InfiniteSampler),
    ):
        check_length(fits, 'train', training=True)
    with pytest.raises(
        ValueError, match='batch_size=4, but only 3 images for 1 process: there is no whole batch'
    ):
        check_length(loader(3, 4), 'train', training=True)
    check_length(loader(4, 2), 'val', training=False)
    with pytest.raises(
        ValueError,
        match='val_dataloader has drop_last=True, which leaves images out of the score: 5 images',
    ):
        check_length(loader(5, 2), 'val', training=False)


@pytest.mark.parametrize(
    'channels, losses, message',
    [
        (
            1,
            [CrossEntropyLoss(use_sigmoid=True, class_weight=[1.0, 2.0])],
            'class_weight of 2 numbers, but the head has one channel',
        ),
        (
            1,
            [StructureLoss(), CrossEntropyLoss()],
            'CrossEntropyLoss compares classes, but the head has one channel',
        ),
        (1, [DiceLoss()], 'DiceLoss needs a channel for each class'),
        (1, [FocalLoss()], 'FocalLoss needs a channel'),
        (
            3,
            [CrossEntropyLoss(class_weight=[1.0, 2.0])],
            'class_weight of 2 numbers, but the head has 3 channels: expected 3',
        ),
    ],
)
def test_losses_that_do_not_fit_their_head(channels, losses, message):
    def model(channels, losses):
        head = nn.Module()
        head.out_channels = channels
        head.loss_decode = nn.ModuleList(losses) if len(losses) > 1 else losses[0]
        return SimpleNamespace(decode_head=None, auxiliary_head=nn.ModuleList([head]))

    check_losses(
        model(1, [CrossEntropyLoss(use_sigmoid=True, class_weight=[2.0]), StructureLoss()])
    )
    check_losses(model(3, [CrossEntropyLoss(class_weight=[1.0, 2.0, 3.0]), DiceLoss()]))
    with pytest.raises(ValueError, match=f'model.auxiliary_head.loss_decode .*{message}'):
        check_losses(model(channels, losses))


def test_heads_for_another_encoder(scope):
    """UPerNet on a Swin of another width, which else fails in the first step."""

    def network(**changes) -> nn.Module:
        head = dict(channels=8, num_classes=2, norm_cfg=dict(type='BN'))
        swin = dict(
            type='SwinTransformer', embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1),
            **changes.pop('backbone', {}),
        )  # fmt: skip
        upper = dict(
            type='UPerHead', in_channels=[8, 16, 32, 64], in_index=[0, 1, 2, 3],
            pool_scales=(1, 2), **head,
        )  # fmt: skip
        further = dict(type='FCNHead', in_channels=32, in_index=2, **head)
        upper.update(changes.pop('head', {}))
        further.update(changes.pop('further', {}))
        return MODELS.build(
            dict(
                type='EncoderDecoder', backbone=swin, decode_head=upper, auxiliary_head=further,
                train_cfg={}, test_cfg=dict(mode='whole'),
            )
        )  # fmt: skip

    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.backbone.eval()
    check_channels(model)
    assert model.decode_head.training and not model.backbone.training
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    for changes, message in (
        (
            dict(head=dict(in_channels=[8, 16, 32, 48])),
            r'decode_head has in_channels=\[8, 16, 32, 48',
        ),
        (
            dict(further=dict(in_channels=24)),
            'model.auxiliary_head has in_channels=24, but the enc',
        ),
        (dict(further=dict(in_index=4)), 'model.auxiliary_head has in_index=4'),
    ):
        with pytest.raises(ValueError, match=message + '.*SwinTransformer.*8, 16, 32, 64 channels'):
            check_channels(network(**changes))


def test_a_class_with_the_number_of_ignored_pixels():
    padding = SimpleNamespace(seg_pad_val=255)
    check_ignored(SimpleNamespace(num_classes=255, data_preprocessor=padding), {}, [])
    with pytest.raises(ValueError, match='256 classes, expected 255 at most'):
        check_ignored(SimpleNamespace(num_classes=256, data_preprocessor=padding), {}, [])


CROP, PAD = (
    [dict(type='LoadImageFromFile'), dict(type='LoadMask'), step, dict(type='PackSegInputs')]
    for step in (
        dict(type='RandomCrop', crop_size=(64, 64), ignore_index=0),
        dict(type='Pad', size=(64, 64)),
    )
)


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'model.decode_head.ignore_index': 0},
            '255: .*ignore_index of train_dataloader.dataset.*0: ignore_index of model.decode_head',
        ),
        ({'val_evaluator.ignore_index': 2}, '2: ignore_index of evaluator BinaryMetric'),
        ({'model.data_preprocessor.seg_pad_val': 0}, '0: seg_pad_val of model.data_preprocessor'),
        ({'val_dataloader.dataset.ignore_index': 1}, '1: ignore_index of val_dataloader.dataset'),
        (
            {'train_dataloader.dataset.pipeline': CROP},
            '0: ignore_index of RandomCrop in the pipeline of train_dataloader',
        ),
        ({'val_evaluator.foreground': 2}, 'foreground=2, but the model has the classes 0 to 1'),
        (
            {'default_hooks.checkpoint.save_best': 'mIoU'},
            "save_best='mIoU', but validation gives only Dice",
        ),
        ({'default_hooks.checkpoint.rule': 'less'}, 'the worst checkpoint would be kept'),
        (
            {
                'train_dataloader.drop_last': True,
                'train_dataloader.batch_size': 7,
                'param_scheduler': None,
            },
            'batch_size=7, but only 6 images',
        ),
        (
            {
                'model.decode_head.loss_decode': dict(
                    type='CrossEntropyLoss', use_sigmoid=True, class_weight=[1.0, 9.0]
                )
            },
            'class_weight of 2 numbers',
        ),
    ],
)
def test_settings_are_compared_before_the_first_step(make_runner, options, message):
    runner = make_runner(options)
    with pytest.raises(ValueError, match=f'(?s){message}'):
        runner.train()
    assert runner.iter == 0


def test_padding_that_agrees_and_training_without_validation(make_runner):
    make_runner(
        {
            'train_dataloader.dataset.pipeline': PAD,
            'train_cfg.max_epochs': 1,
            'val_dataloader': None,
            'val_cfg': None,
            'val_evaluator': None,
        }
    ).train()


def test_labels_are_checked_before_a_test(make_runner, root):
    """What test.py scores is what training would have refused."""
    (root / 'ann_dir/val/1.png').write_bytes((root / 'img_dir/val/1.png').read_bytes())
    with pytest.raises(ValueError, match='ann_dir/val/1.png: got colours'):
        make_runner({'load_from': None}).test()
    with pytest.raises(ValueError, match='2: ignore_index of evaluator'):
        make_runner({'test_evaluator.ignore_index': 2}).test()


def test_a_prompt_encoder_that_nothing_would_train(build):
    check_prompts(build({'model.decode_head.prompts': True}))
    asked = {'model.decode_head.prompts': dict(train_encoder=True)}
    with pytest.raises(ValueError, match='train_encoder=True, but nothing is trained on prompts'):
        check_prompts(build(asked))
    check_prompts(build({**asked, 'model.decode_head.loss_prompts': {}}))
