import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmsam_peft.analysis.suite.cells import Cells, Data
from mmsam_peft.analysis.suite.plan import main_metric, plan
from mmsam_peft.analysis.suite.run import Run
from mmsam_peft.analysis.suite.settings import differences
from mmsam_peft.analysis.suite.trial import main_score
from mmsam_peft.apis.inference import build_to_count
from mmsam_peft.apis.launch import load_config
from mmsam_peft.peft import count_parameters
from mmsam_peft.peft.notation import label, parse_method
from mmsam_peft.registry import PEFT

TINY = str(Path(__file__).parents[2] / 'data' / 'tiny.py')
CONFIGS = Path(__file__).parents[3] / 'configs'
SHAPES = str(CONFIGS / 'lora_hps/quickstart_multitask.py')
FULL = """
_base_ = BASE
model = dict(backbone=dict(peft=dict(type='Full')))
optim_wrapper = dict(optimizer=dict(lr=7.0))
resize = dict(type='Resize', scale=(32, 32))
test_pipeline = [*_base_.test_pipeline[:1], resize, *_base_.test_pipeline[2:]]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""
OTHER_MODEL = """
_base_ = BASE
model = dict(
    _delete_=True, type='EncoderDecoder',
    backbone=dict(type='UNet', base_channels=4, num_stages=1, strides=[1], enc_num_convs=[1],
                  dec_num_convs=[], downsamples=[],
                  enc_dilations=[1], dec_dilations=[]),
    decode_head=dict(type='FCNHead', in_channels=4, channels=8, num_convs=1, concat_input=False,
                     in_index=0, num_classes=2))
"""


@pytest.mark.parametrize(
    'text, peft',
    [
        ('LoRA', dict(type='LoRA')),
        (' LoRA() ', dict(type='LoRA')),
        ('LoRA(rank=8, blocks="last:4")', dict(type='LoRA', rank=8, blocks='last:4')),
        (
            "VPT(deep=False, scale=-1.5, blocks=[0, 3], more={'a': (1, None)})",
            dict(type='VPT', deep=False, scale=-1.5, blocks=[0, 3], more={'a': (1, None)}),
        ),
    ],
)
def test_parses_methods(text, peft):
    assert parse_method(text) == peft


@pytest.mark.parametrize(
    'text',
    [
        '',
        'LoRA(',
        'LoRA(8)',
        'LoRA(rank)',
        'LoRA(rank=n)',
        'LoRA(rank=8)(alpha=1)',
        'a.LoRA',
        'LoRA; Frozen',
        'LoRA(**{"rank": 8})',
        'LoRA(rank=1, rank=2)',
        'LoRA(type="VPT")',
        'LoRA(blocks={1})',
        'LoRA(rank=__import__("os").getpid())',
        'kvasir.yaml',
    ],
)
def test_other_texts_are_no_methods(text):
    with pytest.raises(
        ValueError, match=re.escape(f'got {text!r}, expected a method (LoRA), a call of one')
    ):
        parse_method(text)


def test_nothing_is_evaluated(monkeypatch):
    monkeypatch.setattr(
        ast,
        'literal_eval',
        lambda node: pytest.fail('reached') if isinstance(node, ast.Call) else 0,
    )
    assert parse_method('LoRA(rank=8)') == dict(type='LoRA', rank=0)


def test_labels_are_safe_and_distinct():
    texts = [
        'LoRA',
        'LoRA()',
        'LoRA ',
        'LoRA(rank=8)',
        'LoRA(rank= 8)',
        'LoRA(rank=-8)',
        'LoRA(rank="8")',
        'LoRA_rank=8',
        'a/b.py',
        'a_b.py',
        '/a/b.py',
        '../a/b.py',
        'Größe',
        'Gräße',
        'x' * 300 + '.py',
        'y' + 'x' * 300 + '.py',
        '.py',
    ]
    labels = [label(text) for text in texts]
    assert labels[0] == 'LoRA' and labels[3].startswith('LoRA_rank=8-')
    assert len({name.casefold() for name in labels}) == len(texts)
    assert all(
        re.fullmatch(r'[\w.=-]{1,80}', name, re.ASCII) and not name.startswith('.')
        for name in labels
    )


@pytest.fixture
def make_plan(tmp_path, tiny) -> Callable[..., list[Run]]:
    def make(
        *methods: str, seeds=(0,), config: str = TINY, task: str | None = None, **options
    ) -> list[Run]:
        options = {key.replace('__', '.'): value for key, value in options.items()}
        return plan(
            Cells(CONFIGS, options, task),
            [Data('', config)],
            methods or sorted(PEFT.module_dict),
            tmp_path,
            seeds=seeds,
            check_files=False,
        )

    return make


@pytest.fixture
def config_file(tmp_path, tiny) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / f'config{len(list(tmp_path.glob("config*.py")))}.py'
        path.write_text(text.replace('BASE', repr(TINY)))
        return str(path)

    return write


def test_plan_is_every_method_with_every_seed(make_plan, tmp_path):
    runs = make_plan('Frozen', 'LoRA(rank=2)', seeds=(3, 5))
    assert [(run.method, run.seed) for run in runs] == [
        ('Frozen', 3),
        ('LoRA(rank=2)', 3),
        ('Frozen', 5),
        ('LoRA(rank=2)', 5),
    ]
    assert len({run.folder for run in runs}) == 4 and runs[0].folder == tmp_path / 'Frozen/seed3'
    assert [run.config.randomness.seed for run in runs] == [3, 3, 5, 5]
    assert list(tmp_path.iterdir()) == [tmp_path / 'base.pth']


def test_plan_of_all_methods(make_plan):
    assert [run.method for run in make_plan()] == sorted(PEFT.module_dict)


def test_all_methods_on_several_tasks(make_plan):
    """Methods that adapt the encoder for each task are made for the config's tasks; another number
    is an error."""
    runs = make_plan(config=SHAPES)
    assert [run.method for run in runs] == sorted(PEFT.module_dict)
    counts = {run.method: run.config.model.backbone.peft.get('num_tasks') for run in runs}
    assert {method: count for method, count in counts.items() if count} == dict(
        TALoRA=3, TaskLoRA=3
    )
    with pytest.raises(
        ValueError, match=r'TALoRA\(num_tasks=2\): .*num_tasks=2, but there are 3 tasks'
    ):
        make_plan('Frozen', 'TALoRA(num_tasks=2)', config=SHAPES)


def test_one_task_beside_several_is_an_error(make_plan, tmp_path):
    together, alone = str(CONFIGS / 'lora_stl/quickstart_multitask.py'), tmp_path / 'alone.py'
    load_config(together, task='depth').dump(alone)
    lora, task_lora = make_plan('LoRA', together, config=SHAPES)
    assert (
        task_lora.method == together
        and task_lora.facts['settings']['model']['backbone']['peft']['num_tasks'] == 3
    )
    with pytest.raises(
        ValueError, match='could not stand beside those of .*: test_dataset.tasks: found .*Depth'
    ):
        make_plan('LoRA', str(alone), config=SHAPES)


def test_one_task_alone(make_plan):
    """Of the config and of those among the methods."""
    together = str(CONFIGS / 'lora_stl/quickstart_multitask.py')
    for run in make_plan('TaskLoRA', together, config=SHAPES, task='depth'):
        assert [task.name for task in run.config.model.tasks] == [
            'depth'
        ] and run.config.model.backbone.peft.num_tasks == 1
        assert (run.facts['metric'], run.facts['rule']) == ('depth/RErr', 'less')


def test_a_method_replaces_all_of_the_configs(make_plan, config_file):
    base = config_file(
        "_base_ = BASE\nmodel = dict(backbone=dict(peft=dict(type='LoRA', rank=7, alpha=5), "
        "unfreeze=['neck']))"
    )
    plain, own = make_plan('LoRA', 'LoRA(alpha=3)', config=base, **{'model.backbone.peft.rank': 9})
    assert plain.config.model.backbone.peft == dict(type='LoRA') and plain.config.model.backbone[
        'unfreeze'
    ] == ['neck']
    assert own.config.model.backbone.peft == dict(type='LoRA', alpha=3)


def test_a_method_replaces_the_setting(make_plan, config_file, tmp_path):
    """``method`` at the top of a config would put its own method back when the run is read."""
    base = config_file("_base_ = BASE\nmethod = 'LoRA(rank=7)'")
    (run,) = make_plan('ConvLoRA(rank=2)', config=base)
    run.write()
    read = load_config(str(run.folder / 'config.py'))
    assert read.model.backbone.peft == dict(type='ConvLoRA', rank=2)


def test_the_written_config_is_the_one_planned(make_plan, tmp_path):
    (run,) = make_plan(
        'LoRA(rank=2, blocks="last:1")', seeds=(4,), optim_wrapper__optimizer__lr=0.5
    )
    run.config.dump(tmp_path / 'config.py')
    read = Config.fromfile(tmp_path / 'config.py')
    assert read.model.backbone.peft == dict(type='LoRA', rank=2, blocks='last:1')
    assert (read.randomness.seed, read.optim_wrapper.optimizer.lr) == (4, 0.5)
    assert read.to_dict() == run.config.to_dict()


def test_trained_parameters_of_each_part(make_plan):
    frozen, lora = (run.facts['trained_parameters'] for run in make_plan('Frozen', 'LoRA(rank=2)'))
    head = count_parameters(build_to_count(Config.fromfile(TINY)).decode_head)[0]
    assert frozen == dict(backbone=0, head=head, total=head)
    assert lora == dict(backbone=2 * 2 * (32 + 96), head=head, total=512 + head)


def test_a_config_file_is_trained_as_it_is(make_plan, config_file):
    """With the options, but with those of the model only where it is a PEFTSegmentor."""
    full = config_file(FULL)
    options = {'model.backbone.img_size': 32, 'train_cfg.max_epochs': 9}
    lora, own = make_plan('LoRA', full, **options)
    assert [run.config.model.backbone.peft.type for run in (lora, own)] == ['LoRA', 'Full']
    assert [run.config.optim_wrapper.optimizer.lr for run in (lora, own)] == [1e-3, 7.0]
    assert [run.config.test_dataloader.dataset.pipeline[1].scale for run in (lora, own)] == [
        (64, 64),
        (32, 32),
    ]
    assert [run.config.model.backbone.img_size for run in (lora, own)] == [32, 32]
    assert [run.config.train_cfg.max_epochs for run in (lora, own)] == [9, 9]
    assert (lora.facts['config'], own.facts['config']) == (str(Path(TINY).resolve()), full)


def test_options_of_the_model_reach_no_other_model(make_plan, config_file):
    (other,) = make_plan(
        config_file(OTHER_MODEL), **{'model.checkpoint': 'weights.pth', 'train_cfg.max_epochs': 9}
    )
    assert 'checkpoint' not in other.config.model and other.config.train_cfg.max_epochs == 9
    parts = other.facts['trained_parameters']
    assert (
        parts['head'] == 4 * 8 * 9 + 8 + 8 * 2 + 2
        and parts['backbone'] + parts['head'] == parts['total']
    )


def test_faults_of_methods_are_reported_together(make_plan, config_file):
    elsewhere = config_file(
        '_base_ = BASE\ntest_dataloader = '
        "dict(dataset=dict(data_prefix=dict(img_path='img_dir/val2')))"
    )
    scored = config_file("_base_ = BASE\ntest_evaluator = dict(type='SaliencyMetric')")
    faults = {
        'Lora': "peft type='Lora' is unknown: use one of",
        'LoRA(rnk=8)': "unexpected keyword argument 'rnk'",
        'LoRA(blocks="lats:1")': "'lats:1'",
        'LoRA(8)': "got 'LoRA(8)', expected",
        elsewhere: "test_dataset.data_prefix.img_path: found 'img_dir/val2', asked 'img_dir/val'",
        scored: "test_evaluator.type: found 'SaliencyMetric', asked 'BinaryMetric'",
        'absent.py': 'no config absent.py',
    }
    with pytest.raises(ValueError) as error:
        make_plan('Frozen', *faults)
    heading, *lines = str(error.value).splitlines()
    assert heading == 'Nothing was trained, because of'
    for line, (method, fault) in zip(lines, faults.items(), strict=True):
        assert line.startswith(f'  {method}: ') and fault in line


def test_other_bad_input(make_plan, config_file):
    with pytest.raises(
        ValueError, match='has a EncoderDecoder, expected a config of a PEFTSegmentor'
    ):
        make_plan('LoRA', config=config_file(OTHER_MODEL))
    with pytest.raises(ValueError, match='--methods got LoRA LoRA, expected each one once'):
        make_plan('LoRA', 'LoRA')
    with pytest.raises(ValueError, match='--seeds got 1 1, expected each one once'):
        make_plan('LoRA', seeds=(1, 1))


@pytest.mark.parametrize(
    'hook, metric, rule',
    [
        (dict(save_best='Dice', rule='greater'), 'Dice', 'greater'),
        (dict(save_best='Dice'), 'Dice', None),
        (
            dict(save_best=['depth/RErr', 'seg/mIoU'], rule=['less', 'greater']),
            'depth/RErr',
            'less',
        ),
        (dict(save_best='auto'), None, None),
        ({}, None, None),
    ],
)
def test_main_metric(hook, metric, rule):
    assert main_metric(Config(dict(default_hooks=dict(checkpoint=hook)))) == dict(
        metric=metric, rule=rule
    )
    assert main_metric(Config()) == dict(metric=None, rule=None)


@pytest.mark.parametrize(
    'names, main',
    [(['a', 'b'], 'b'), (['a', 'c'], 'a'), (['a', 'b', 'Delta_b/stl'], 'Delta_b/stl')],
)
def test_main_score_is_delta_b_then_what_chooses_checkpoints(names, main):
    assert main_score(dict(metric='b', scores=dict.fromkeys(names, 1.0))) == main


def finish(run: Run, **settings) -> None:
    run.folder.mkdir(parents=True)
    run.result.write_text(json.dumps(dict(settings={**run.facts['settings'], **settings})))


def test_results_with_the_same_settings_are_kept(make_plan):
    (run,) = make_plan('LoRA')
    finish(run)
    stored = json.loads(run.result.read_text())
    del stored['settings']['model']['backbone']['peft'][
        'alpha'
    ]  # written before the method had this option
    run.result.write_text(json.dumps(stored))
    make_plan('LoRA', 'Frozen', work_dir='elsewhere')


@pytest.mark.parametrize(
    'change, found',
    [
        (
            dict(optim_wrapper__optimizer__lr=0.5),
            'optim_wrapper.optimizer.lr: found 0.001, asked 0.5',
        ),
        (
            dict(model__backbone__unfreeze=['neck']),
            "model.backbone.unfreeze: found 'nothing', asked ['neck']",
        ),
    ],
)
def test_results_with_other_settings_are_an_error(make_plan, change, found):
    (run,) = make_plan('LoRA')
    finish(run)
    with pytest.raises(
        ValueError, match=re.escape(f'{run.folder} holds a run with other settings: {found}. Move')
    ):
        make_plan('Frozen', 'LoRA', **change)


def test_other_defaults_are_other_settings(make_plan):
    (run,) = make_plan('LoRA')
    backbone = {**run.facts['settings']['model']['backbone'], 'peft': dict(type='LoRA', alpha=999)}
    finish(run, model={**run.facts['settings']['model'], 'backbone': backbone})
    with pytest.raises(ValueError, match='model.backbone.peft.alpha: found 999, asked'):
        make_plan('LoRA')


def test_an_interrupted_run_goes_on_only_with_its_settings(make_plan):
    (run,) = make_plan('LoRA')
    run.folder.mkdir(parents=True)
    run.journal.write_text(json.dumps(dict(settings=run.facts['settings'], attempts=[])))
    make_plan('LoRA', train_cfg__max_epochs=9)  # no checkpoint yet: it begins anew
    torch.save(
        dict(meta=dict(epoch=1, iter=3), state_dict={}, optimizer={}, message_hub={}),
        run.folder / 'epoch_1.pth',
    )
    make_plan('LoRA')
    with pytest.raises(ValueError, match='train_cfg.max_epochs: found 4, asked 9'):
        make_plan('LoRA', train_cfg__max_epochs=9)


def test_differences():
    assert differences(dict(a=1, b=dict(c=[1])), dict(b=dict(c=[1]), a=1)) == ''
    text = differences(dict(a=1, b=dict(c=1, d=2)), dict(b=dict(c=2, e=3), f=4))
    assert (
        text
        == "a: found 1, asked 'nothing'; b.c: found 1, asked 2; b.d: found 2, asked 'nothing' and "
        '2 more'
    )
