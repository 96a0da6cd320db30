"""The default work directory: the same for the same run, another for any other."""

import re

import pytest

from mmsam_peft.apis.run_name import LONGEST, run_name

CONFIG = 'configs/convlora/kvasir.py'


@pytest.mark.parametrize(
    'options, settings, expected',
    [
        (None, {}, 'convlora/kvasir'),
        ({}, {}, 'convlora/kvasir'),
        ({'model.backbone.arch': 'huge'}, {}, 'convlora/kvasir_arch=huge'),
        (
            {'model.backbone.peft.rank': 8, 'model.backbone.arch': 'huge'},
            {},
            'convlora/kvasir_arch=huge_peft.rank=8',
        ),
        (
            {'optim_wrapper.optimizer.lr': 3e-4, 'model.checkpoint': None},
            {},
            'convlora/kvasir_model.checkpoint=None_optim_wrapper.optimizer.lr=0.0003',
        ),
        ({}, dict(task='depth', amp='bf16'), 'convlora/kvasir_amp=bf16_task=depth'),
        (
            {
                'train_dataloader.num_workers': 0,
                'default_hooks.logger.interval': 1,
                'log_level': 'ERROR',
                'test_dataloader.dataset.data_root': '/x',
                'test_evaluator.baseline': 'stl.json',
            },
            {},
            'convlora/kvasir',
        ),
    ],
)
def test_names(options, settings, expected):
    assert run_name(CONFIG, options, **settings) == expected


@pytest.mark.parametrize(
    'value, shown',
    [
        ('/data/new/sam b.pth', 'sam-b.pth'),
        ('data/kvasir/', 'kvasir'),
        ([0, 5], '-0-5-'),
        ('last_layer', 'last-layer'),
        ('x' * 500, 'x' * (LONGEST - len('_key='))),
        ('a=b', 'a-b'),
        ('../..', '..'),
    ],
)
def test_what_had_to_change_gets_digits(value, shown):
    name = run_name(CONFIG, {'key': value})
    assert re.fullmatch(re.escape(f'convlora/kvasir_key={shown}') + '_[0-9a-f]{8}', name)
    assert name == run_name(CONFIG, {'key': value}) and re.fullmatch(r'convlora/[\w.+=-]+', name)


def test_different_runs_have_different_names():
    runs = [
        {},
        {'a': 1},
        {'a': 2},
        {'a': '1_b=2'},
        {'a': 1, 'b': 2},
        {'a': 'x/1'},
        {'a': 'y/1'},
        {'a': 'x y'},
        {'a': 'x-y'},
        {'a': 'x' * 200},
        {'a': 'x' * 201},
        {'model.backbone.peft.rank': 1},
        {'model.decode_head.peft.rank': 1},
        {'train_dataloader.batch_size': 1},
        {'val_dataloader.batch_size': 1},
    ]
    names = [run_name(CONFIG, options) for options in runs]
    assert len({name.lower() for name in names}) == len(runs), (
        'also where a file system knows no capitals'
    )
    assert all(len(name) < LONGEST + 40 for name in names)
