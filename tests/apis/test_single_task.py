"""One task of a multi-task config, alone: in every part of it, and in the tools that get an adapter
of it."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmsam_peft.adapters.match import load_adapter
from mmsam_peft.apis import init_model, save_adapter
from mmsam_peft.apis.inference import build_to_count
from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.single_task import keep_task

CONFIGS = Path(__file__).parents[2] / 'configs'
CHOSEN = dict(
    seg=('seg/mIoU', 'greater'),
    depth=('depth/RErr', 'less'),
    normals=('normals/mean', 'less'),
    parts=('parts/mIoU', 'greater'),
    saliency=('saliency/maxF', 'greater'),
)
PARTS = ('train', 'val', 'test')


@pytest.mark.parametrize(
    'name, task',
    [
        *[('nyuv2', task) for task in ('seg', 'depth', 'normals')],
        ('cityscapes', 'depth'),
        *[('pascal_context', task) for task in ('seg', 'parts', 'normals', 'saliency')],
    ],
)
def test_every_part_has_the_one_task(name, task):
    path = str(CONFIGS / f'lora_stl/{name}.py')
    together, alone = load_config(path), load_config(path, task=task)
    kept = [one for one in together.tasks if one.name == task]
    parts = [alone[f'{part}_dataloader'].dataset for part in PARTS] + [
        alone.val_evaluator,
        alone.test_evaluator,
    ]
    assert all(part.tasks == kept for part in (alone, alone.model, *parts))
    assert (
        alone.default_hooks.checkpoint.save_best,
        alone.default_hooks.checkpoint.rule,
    ) == CHOSEN[task]
    model = build_to_count(alone)
    assert list(model.tasks) == [task] and model.backbone.peft.num_tasks == 1
    assert alone.work_dir == str(Path(f'work_dirs/lora_stl/{name}_task={task}'))
    assert len(together.tasks) == len(together.model.tasks) > 1, (
        'reading one leaves the other alone'
    )


def test_nothing_else_changes():
    path = str(CONFIGS / 'talora/nyuv2.py')
    together, alone = load_config(path), load_config(path, task='depth')
    kept = together.tasks[1:2]
    together.merge_from_dict(
        {
            'tasks': kept,
            'data.tasks': kept,
            'model.tasks': kept,
            'work_dir': alone.work_dir,
            'default_hooks.checkpoint.save_best': 'depth/RErr',
            'default_hooks.checkpoint.rule': 'less',
        }
    )
    together.merge_from_dict({f'{part}_dataloader.dataset.tasks': kept for part in PARTS})
    together.merge_from_dict({f'{part}_evaluator.tasks': kept for part in PARTS[1:]})
    assert alone.to_dict() == together.to_dict()


def test_options_come_after_the_task():
    options = {
        'default_hooks.checkpoint.save_best': 'depth/delta1',
        'default_hooks.checkpoint.rule': 'greater',
        'model.tasks.0.weight': 2.0,
    }
    alone = load_config(str(CONFIGS / 'talora/nyuv2.py'), options, task='depth')
    assert (
        alone.default_hooks.checkpoint.save_best == 'depth/delta1'
        and alone.model.tasks[0].weight == 2.0
    )


def test_a_number_of_tasks_lists_and_a_best_of_its_own():
    """Evaluators in a list, data sets in a data set, ``num_tasks``; ``save_best`` stays where it is
    of the task, or none."""
    tasks = [dict(type='Saliency', name='a'), dict(type='Edges', name='b')]
    dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(type='MultiTaskDataset', tasks=tasks)
    )
    cfg = Config(
        dict(
            model=dict(
                type='MultiTaskSegmentor',
                tasks=tasks,
                backbone=dict(peft=dict(type='TaskLoRA', num_tasks=2)),
            ),
            train_dataloader=dict(dataset=dataset),
            val_evaluator=[dict(type='MultiTaskMetric', tasks=tasks), dict(type='Other')],
            default_hooks=dict(checkpoint=dict(save_best='b/loss', rule='less')),
        )
    )
    keep_task(cfg, 'b')
    assert (
        cfg.train_dataloader.dataset.dataset.tasks
        == cfg.val_evaluator[0].tasks
        == cfg.model.tasks
        == tasks[1:]
    )
    assert cfg.model.backbone.peft.num_tasks == 1 and cfg.default_hooks.checkpoint == dict(
        save_best='b/loss', rule='less'
    )


@pytest.mark.parametrize(
    'name, task, message',
    [
        (
            'talora/nyuv2.py',
            'normal',
            "'normal' is asked for alone, but the config has the tasks seg, depth, normals: name",
        ),
        (
            'lora/kvasir.py',
            'depth',
            "'depth' is asked for alone, but the config's model, PEFTSegmentor, has no tasks",
        ),
        (
            'segformer/kvasir_b0.py',
            'depth',
            "'depth' is asked for alone, but the config's model, EncoderDecoder, has no tasks",
        ),
    ],
)
def test_no_such_task(name, task, message):
    with pytest.raises(ValueError, match=message):
        load_config(str(CONFIGS / name), task=task)


@pytest.mark.parametrize('method', ['lora_stl', 'lora_hps'])
def test_an_adapter_trained_alone_says_so_itself(tmp_path, method):
    """Whatever makes a model of the multi-task config and this adapter gets a model of the one
    task."""
    path, adapter = CONFIGS / method / 'quickstart_multitask.py', tmp_path / 'adapter.safetensors'
    save_adapter(init_model(load_config(str(path), task='normals'), device='cpu'), adapter)
    model = init_model(path, adapter, 'cpu')
    assert list(model.tasks) == ['normals']
    assert [task['name'] for task in model.cfg.model.tasks] == ['normals']
    assert list(init_model(path, adapter, 'cpu', merge=True, task='normals').tasks) == ['normals']
    with pytest.raises(
        ValueError, match="task='seg': the model has no such task: use one of normal"
    ):
        init_model(path, adapter, 'cpu', merge=True, task='seg')
    together = tmp_path / 'together.safetensors'
    save_adapter(init_model(path, device='cpu'), together)
    assert list(init_model(path, together, 'cpu').tasks) == ['seg', 'depth', 'normals']


@pytest.mark.parametrize('method', ['lora_stl', 'lora_hps'])
def test_weights_trained_alone_ask_for_their_task(tmp_path, method):
    """Where the task is not taken from the file, as of a ``.pth`` and in tools/test.py."""
    path, adapter = CONFIGS / method / 'quickstart_multitask.py', tmp_path / 'adapter.safetensors'
    alone = init_model(load_config(str(path), task='normals'), device='cpu')
    together = init_model(path, device='cpu')
    save_adapter(alone, adapter)
    with pytest.raises(ValueError, match='trained on normals alone: .* --task normals'):
        load_adapter(together, adapter)
    if method == 'lora_stl':
        with pytest.raises(ValueError, match='trained on normals alone: .* --task normals'):
            together.load_state_dict(alone.state_dict())
