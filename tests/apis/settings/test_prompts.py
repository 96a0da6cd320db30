"""``prompts`` at the top of a config: the head, its loss and the training pipelines get it."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.names import check_names
from mmsam_peft.apis.run_name import run_name
from mmsam_peft.apis.settings import check_settings

CONFIGS = Path(__file__).parents[3] / 'configs'
CELL = CONFIGS / 'lora/quickstart.py'
SHARES = dict(box=0.5, point=0.3, none=0.2)


def kinds(pipeline: list) -> list[str]:
    return [step['type'] for step in pipeline]


def test_one_variable_turns_it_on(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = '{CELL}'\nprompts = dict(box=0.6, point=0.15, none=0.25, rounds=3)\n"
    )
    cfg = load_config(path)
    check_settings(cfg)
    check_names(cfg)
    head, pipeline = cfg.model.decode_head, cfg.train_dataloader.dataset.pipeline
    assert head.prompts == {} and head.loss_prompts == dict(none=0.25, rounds=3, keep=0)
    assert kinds(pipeline)[-2:] == ['SamplePrompts', 'PackSegInputs']
    assert pipeline[-2] == dict(type='SamplePrompts', box=0.8, objects=4)
    for part in (cfg.val_dataloader, cfg.test_dataloader):
        assert 'SamplePrompts' not in kinds(part.dataset.pipeline)
    again = load_config(path, {'prompts.rounds': 1, 'augment': 'strong', 'image_size': 128})
    assert again.prompts == dict(box=0.6, point=0.15, none=0.25, rounds=1, objects=4, keep=0)
    assert again.model.decode_head.loss_prompts.rounds == 1
    assert kinds(again.train_dataloader.dataset.pipeline)[-3:] == [
        'RandomColour',
        'SamplePrompts',
        'PackSegInputs',
    ]


def test_from_the_command_line_and_in_saved_configs(tmp_path):
    cfg = load_config(CELL, {'prompts': SHARES})
    assert cfg.prompts == dict(SHARES, rounds=4, objects=4, keep=0)
    cfg.dump(tmp_path / 'saved.py')
    for options in ({'augment': 'light'}, {'prompts.objects': 2}, None):
        saved = load_config(tmp_path / 'saved.py', options)
        check_settings(saved)
        pipeline = saved.train_dataloader.dataset.pipeline
        assert kinds(pipeline)[-2:] == ['SamplePrompts', 'PackSegInputs']
        assert kinds(pipeline).count('SamplePrompts') == 1
        assert pipeline[-2].objects == (2 if options and 'prompts.objects' in options else 4)
    assert run_name(CELL, {'prompts.rounds': 1}).endswith('quickstart_prompts.rounds=1')


def test_keeping_answers_with_the_decoder_of_the_base(tmp_path):
    cfg = load_config(CELL, {'prompts.keep': 1})
    check_settings(cfg)
    head = cfg.model.decode_head
    assert head.prompts == 'base' and head.loss_prompts.keep == 1
    cfg.dump(tmp_path / 'saved.py')
    check_settings(load_config(tmp_path / 'saved.py'))
    again = load_config(tmp_path / 'saved.py', {'prompts.keep': 0})
    assert again.model.decode_head.prompts == {}
    head.prompts = {}
    with pytest.raises(ValueError, match='model.decode_head.prompts: '):
        check_settings(cfg)


def test_what_a_head_has_of_its_own_stays():
    options = {'model.decode_head.prompts.train_encoder': True, 'prompts': SHARES}
    cfg = load_config(CELL, options)
    check_settings(cfg)
    assert cfg.model.decode_head.prompts == dict(train_encoder=True)


@pytest.mark.parametrize(
    'value, message',
    [
        (0.5, 'expected dict'),
        (dict(SHARES, box=0.6), 'box=0.6, point=0.3, none=0.2: these shares add up to 1.1'),
        (dict(none=0.4), 'add up to 0.4'),
        (dict(SHARES, round=3), 'prompts has no round: did you mean rounds'),
        (dict(box=-0.1, point=0.9, none=0.2), 'prompts.box=-0.1: expected a share'),
        (dict(box='0.5', none=0.5), "prompts.box='0.5': expected a share"),
        (dict(none=1), 'trains without prompts'),
        (dict(SHARES, rounds=0), 'prompts.rounds=0: expected a whole number'),
        (dict(SHARES, objects=2.5), 'prompts.objects=2.5'),
        (dict(SHARES, keep=-1), 'prompts.keep=-1: expected a weight, at least 0'),
    ],
)
def test_values_that_are_none(value, message):
    with pytest.raises(ValueError, match=message):
        load_config(CELL, {'prompts': value})


def test_a_part_of_what_is_not_there_is_completed():
    assert load_config(CELL, {'prompts.rounds': 1}).prompts.box == 0.5
    with pytest.raises(ValueError, match='did you mean rounds'):
        load_config(CELL, {'prompts.roundz': 1})


@pytest.mark.parametrize(
    'cell, message',
    [
        ('lora/camvid.py', 'has 11 classes .num_queries='),
        ('segformer/kvasir_b0.py', 'SegformerHead, takes no prompts'),
        ('talora/nyuv2.py', 'one of several tasks'),
    ],
)
def test_models_that_take_none(cell, message):
    with pytest.raises(ValueError, match=message):
        load_config(CONFIGS / cell, {'prompts': SHARES})


def test_places_that_contradict_it(tmp_path):
    cfg = load_config(CELL, {'prompts': SHARES})
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline.insert(len(pipeline) - 1, dict(type='RandomFlip', prob=0.5))
    cfg.model.decode_head.loss_prompts.none = 0.9
    with pytest.raises(ValueError, match='loss_prompts: (.|\n)* is not right before PackSegInputs'):
        check_settings(cfg)
    cfg = load_config(CELL)
    cfg.prompts = SHARES
    with pytest.raises(ValueError, match='no SamplePrompts'):
        check_settings(Config(cfg.to_dict()))


def test_annotations_tell_objects_apart():
    cfg = load_config(CONFIGS / 'convlora/annotated.py', {'prompts': SHARES})
    for part in ('train', 'val', 'test'):
        assert cfg[f'{part}_dataloader'].dataset.instances is True
    assert (
        'instances' not in load_config(CONFIGS / 'convlora/annotated.py').train_dataloader.dataset
    )
