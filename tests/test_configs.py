"""Every config of the zoo: its form, its parts, and training for one epoch of a tiny variant of each family."""
import ast
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmsam_peft.apis.inference import build_to_count
from mmsam_peft.apis.launch import build_runner, load_config
from mmsam_peft.registry import DATASETS, METRICS, MODELS, PEFT

CONFIGS = Path(__file__).parents[1] / 'configs'
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)
PARTS = ('train', 'val', 'test')
DATA = dict(kvasir=2, camvid=11, custom=2, trans10k=12)  # classes

METHODS = dict(
    decoder_only='Frozen', full='Full', from_scratch='Full', bitfit='BitFit', norm='NormTuning', adapter='Adapter',
    adaptformer='AdaptFormer', vpt='VPT', lst='LST', sam_adapter='SAMAdapter', ssf='SSF', lora='LoRA', dora='DoRA', fact='FacT',
    hf_peft='HFPeft', convlora='ConvLoRA')  # folder: peft type
MULTI_TASK = dict(
    talora='TALoRA', lora_hps='LoRA', lora_stl='TaskLoRA', mtlora='TaskLoRA', decoder_only='Frozen', full='Full')
MULTI_TASK_DATA = dict(
    nyuv2=('seg', 'depth', 'normals'), cityscapes=('seg', 'depth'), pascal_context=('seg', 'parts', 'normals', 'saliency'),
    quickstart_multitask=('seg', 'depth', 'normals'), custom_multitask=('seg', 'depth', 'normals'))  # tasks
SINGLE_TASK = [(data, i) for data, tasks in MULTI_TASK_DATA.items() if data != 'custom_multitask' for i in range(len(tasks))]
RATES = dict(full=1e-5)  # where it is not 1e-4

ENCODER = dict(embed_dim=16, depth=2, num_heads=2, window_size=3, global_attn_indexes=(1,), out_channels=32)
RESNET = {'backbone.base_channels': 4, 'backbone.stem_channels': 4, 'pretrained': None,
          'decode_head.in_channels': 128, 'decode_head.channels': 16, 'auxiliary_head.in_channels': 64}
TINY = dict(
    PEFTSegmentor={'checkpoint': None, 'backbone.arch': dict(ENCODER, _delete_=True), 'backbone.img_size': 64,
                   'decode_head.in_channels': 32, 'decode_head.num_heads': 2, 'decode_head.mlp_dim': 32},
    segformer={'backbone.init_cfg': None}, hrnet={'pretrained': None}, pspnet=RESNET,
    deeplabv3plus={**RESNET, 'decode_head.c1_in_channels': 16})
TINY['MultiTaskSegmentor'] = TINY['PEFTSegmentor']


def base_files(path: Path) -> list[Path]:
    """The files of ``_base_`` that are ours."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            named = ast.literal_eval(node.value)
            return [path.parent / name for name in ([named] if isinstance(named, str) else named) if '::' not in name]
    return []


def levels(path: Path) -> int:
    return 1 + max(map(levels, base_files(path)), default=0)


def strings(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for item in inner for text in strings(item)]


@pytest.mark.parametrize('name', NAMES)
def test_form(name):
    path = CONFIGS / name
    assert path.read_text().splitlines()[0] == f'# python tools/train.py configs/{name}'
    assert levels(path) <= 3
    assert not [text for text in strings(Config.fromfile(path).to_dict()) if text.startswith(('/', '~'))]


@pytest.mark.parametrize('name', NAMES)
def test_parts(name):
    """The model builds; it, the data sets and the image sizes agree; metrics and test-time augmentation build."""
    cfg = Config.fromfile(CONFIGS / name)
    model = build_to_count(cfg)
    scale = cfg.model.data_preprocessor.size
    datasets = [DATASETS.build({**cfg[f'{part}_dataloader'].dataset, 'lazy_init': True}) for part in PARTS]
    if 'tasks' in cfg.model:
        assert all([task.name for task in dataset.tasks] == list(model.tasks) for dataset in datasets)
        assert all(evaluator.tasks == cfg.model.tasks for evaluator in (cfg.val_evaluator, cfg.test_evaluator))
        task, metric = cfg.default_hooks.checkpoint.save_best.split('/')
        assert {'greater': 'higher', 'less': 'lower'}[cfg.default_hooks.checkpoint.rule] == model.tasks[task].better[metric]
        assert cfg.default_hooks.visualization.type == 'PanelHook'
    else:
        assert MODELS.build({**cfg.tta_model, 'module': model}).module is model
    for dataset in datasets if 'tasks' not in cfg.model else ():
        assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == model.num_classes
        assert {step.scale[::-1] for step in dataset.pipeline.transforms if hasattr(step, 'scale')} <= {scale}
    if cfg.model.backbone.type == 'SAMViT':
        assert model.backbone.img_size == scale
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        for metric in evaluator if isinstance(evaluator, list) else [evaluator]:
            METRICS.build(metric)
    schedulers = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    assert schedulers[-1].end == cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters'))


def test_zoo_is_complete():
    peft = {f'{method}/{data}.py' for method in METHODS for data in (*DATA, 'quickstart')}
    peft -= {'full/quickstart.py', 'from_scratch/quickstart.py'}  # too much for two minutes
    peft |= {f'{method}/{data}.py' for method in MULTI_TASK for data in MULTI_TASK_DATA}
    peft |= {f'lora_stl/{data}_{MULTI_TASK_DATA[data][i]}.py' for data, i in SINGLE_TASK}
    sizes = {f'convlora/{data}_{size}.py' for data in DATA for size in ('large', 'huge')}
    others = {f'{other}.py'.replace('DATA', data) for data in DATA for other in (
        'segformer/DATA_b0', 'segformer/DATA_b2', 'deeplabv3plus/DATA_r50', 'pspnet/DATA_r50', 'hrnet/DATA_w18')}
    assert peft | sizes | others <= set(NAMES)


def test_every_method_has_configs():
    assert {*METHODS.values(), *MULTI_TASK.values()} == set(PEFT.module_dict)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('data', DATA)
def test_methods(method, data):
    cfg = Config.fromfile(CONFIGS / method / f'{data}.py')
    assert cfg.model.backbone.peft.type == METHODS[method] and cfg.optim_wrapper.optimizer.lr == RATES.get(method, 1e-4)
    assert (cfg.model.checkpoint is None) == (method == 'from_scratch')
    if method == 'convlora':
        assert cfg.model.backbone.peft.get('balance_weight', 1.0) == (2.0 if DATA[data] > 2 else 1.0)


@pytest.mark.parametrize('method', MULTI_TASK)
@pytest.mark.parametrize('data', MULTI_TASK_DATA)
def test_multi_task_methods(method, data):
    cfg = Config.fromfile(CONFIGS / method / f'{data}.py')
    peft, names = cfg.model.backbone.peft, MULTI_TASK_DATA[data]
    assert peft.type == MULTI_TASK[method] and bool(peft.get('shared_rank')) == (method == 'mtlora')
    assert tuple(task.name for task in cfg.model.tasks) == names and peft.get('num_tasks', len(names)) == len(names)
    rate = 3e-3 if data == 'quickstart_multitask' else 1e-3
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(rate / 10 if method == 'full' else rate)


@pytest.mark.parametrize('data, index', SINGLE_TASK)
def test_single_tasks_are_the_side_by_side_config_with_one_task(data, index):
    together = Config.fromfile(CONFIGS / f'lora_stl/{data}.py')
    alone = Config.fromfile(CONFIGS / f'lora_stl/{data}_{MULTI_TASK_DATA[data][index]}.py')
    assert alone.tasks == together.tasks[index:index + 1] and alone.tasks[0].name == MULTI_TASK_DATA[data][index]
    together.merge_from_dict({'tasks': alone.tasks, 'model.tasks': alone.tasks, 'model.backbone.peft.num_tasks': 1,
                              'default_hooks.checkpoint': alone.default_hooks.checkpoint})
    for part in PARTS:
        together.merge_from_dict({f'{part}_dataloader.dataset.tasks': alone.tasks})
    for part in PARTS[1:]:
        together.merge_from_dict({f'{part}_evaluator.tasks': alone.tasks})
    assert alone.to_dict() == together.to_dict()


@pytest.mark.parametrize('size, parameters', [('large', 308_278_272), ('huge', 637_026_048)])
def test_sizes_take_their_checkpoint(size, parameters):
    cfg = Config.fromfile(CONFIGS / f'convlora/kvasir_{size}.py')
    assert f'sam_vit_{size[0]}_' in cfg.model.checkpoint
    encoder = build_to_count(cfg).backbone
    assert sum(p.numel() for name, p in encoder.named_parameters() if name not in encoder.peft.added) == parameters


def test_command_line_options():
    options = {'model.backbone.peft.rank': 8, 'model.backbone.arch': 'large', 'train_dataloader.dataset.data_root': 'elsewhere',
               'optim_wrapper.optimizer.lr': 3e-4, 'val_dataloader.dataset.mask_values': 'binary255'}
    cfg = load_config(str(CONFIGS / 'convlora/kvasir.py'), options)
    encoder = build_to_count(cfg).backbone
    assert encoder.blocks[0].attn.qkv.lora_A.shape == (8, 1024)
    sets = {part: DATASETS.build({**cfg[f'{part}_dataloader'].dataset, 'lazy_init': True}) for part in PARTS}
    assert [sets[part].data_root for part in PARTS] == ['elsewhere', 'data/kvasir/', 'data/kvasir/']
    assert [sets[part].mask_values for part in PARTS] == ['index', 'binary255', 'index']
    assert cfg.optim_wrapper.optimizer.lr == 3e-4


@pytest.fixture
def write_data(tmp_path):
    """``write_data('camvid', 11)``: two images of 64 x 64 for each split, in the data set's layout, that show every class."""
    def write(name: str, num_classes: int) -> Path:
        rng, root = np.random.default_rng(0), tmp_path / 'data'
        stored = 255 if (name, num_classes) == ('custom', 2) else 1
        for split in ('train', 'validation', 'test') if name == 'trans10k' else PARTS:
            for i in range(2):
                mask = np.kron(rng.permutation(16).reshape(4, 4) % num_classes, np.ones((16, 16))).astype(np.uint8)
                image = np.stack([mask * 20] * 3, -1) + rng.integers(0, 15, (64, 64, 3), dtype=np.uint8)
                if name == 'trans10k':
                    pair = root / split / f'images/{i}.jpg', root / split / f'masks_12/{i}_mask.png'
                else:
                    pair = root / 'img_dir' / split / f'{i}.png', root / 'ann_dir' / split / f'{i}.png'
                for path, pixels in zip(pair, (image, mask * stored), strict=True):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(path)
        return root
    return write


@pytest.fixture
def train_tiny(tmp_path, monkeypatch):
    """Trains a config, its model made small, for one iteration on 64 x 64 pixels, and validates it; returns what was logged."""
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')  # build_runner sets it; this takes it back

    def train(path: Path, data_root: Path) -> dict[str, float]:
        options = {'model.data_preprocessor.size': (64, 64), 'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1,
                   'experiment_name': tmp_path.name, 'train_dataloader.batch_size': 2}
        for part in PARTS:
            loader = f'{part}_dataloader'
            options |= {f'{loader}.num_workers': 0, f'{loader}.persistent_workers': False,
                        f'{loader}.dataset.data_root': str(data_root)}
        cfg = load_config(str(path), options, str(tmp_path / 'run'))
        for part in PARTS:
            for step in cfg[f'{part}_dataloader'].dataset.pipeline:
                step.update({'Resize': dict(scale=(64, 64)), 'MultiTaskResize': dict(size=64)}.get(step.type, {}))
        tiny = TINY.get(cfg.model.type) or TINY[path.parent.name]
        cfg.merge_from_dict({f'model.{key}': value for key, value in tiny.items()})
        runner = build_runner(cfg)
        runner.train()
        return {key: buffer.current() for key, buffer in runner.message_hub.log_scalars.items() if buffer.data[0].size}
    return train


@pytest.mark.parametrize('name, metric', [
    ('convlora/kvasir.py', 'S'), ('lora/camvid.py', 'mIoU'), ('decoder_only/trans10k.py', 'mIoU'), ('full/custom.py', 'Dice'),
    ('from_scratch/kvasir.py', 'S'), ('vpt/camvid.py', 'mIoU'), ('lst/kvasir.py', 'S'), ('sam_adapter/custom.py', 'Dice'),
    ('ssf/trans10k.py', 'mIoU'), ('dora/custom.py', 'Dice'), ('fact/kvasir.py', 'S'), ('hf_peft/custom.py', 'Dice'),
    ('segformer/kvasir_b0.py', 'S'), ('deeplabv3plus/camvid_r50.py', 'mIoU'),
    ('pspnet/custom_r50.py', 'Dice'), ('hrnet/trans10k_w18.py', 'mIoU')])
def test_trains(write_data, train_tiny, tmp_path, name, metric):
    data = Path(name).stem.split('_')[0]
    logged = train_tiny(CONFIGS / name, write_data(data, DATA[data]))
    assert np.isfinite(logged['train/loss'])
    assert 0 <= logged[f'val/{metric}'] <= 100
    assert len(list((tmp_path / 'run').glob(f'best_{metric}_epoch_1.pth'))) == 1
    assert (tmp_path / 'run/adapter_best.safetensors').exists() == ('PEFT' in Config.fromfile(CONFIGS / name).model.type)


@pytest.mark.parametrize('name', ['convlora/custom.py', 'segformer/custom_b0.py'])
def test_own_data_with_three_classes(write_data, train_tiny, tmp_path, name):
    """What the config's last comment says makes it multi-class."""
    text = (CONFIGS / name).read_text()
    edits = {"'background', 'object'": "'background', 'cat', 'dog'", '[0, 255, 0]]': '[0, 255, 0], [255, 0, 0]]',
             "'binary255'": "'index'", 'sam_binary': 'sam_multiclass', '../_base_': str(CONFIGS / '_base_')}
    for before, after in edits.items():
        text = text.replace(before, after)
    head, comment, lines = text.partition('uncomment these lines:\n')
    copy = tmp_path / name
    copy.parent.mkdir()
    copy.write_text(head + comment + re.sub('^# ', '', lines, flags=re.MULTILINE))
    logged = train_tiny(copy, write_data('custom', 3))
    assert np.isfinite(logged['train/loss']) and (tmp_path / 'run/best_mIoU_epoch_1.pth').exists()
    assert Config.fromfile(copy).test_evaluator.type == 'IoUMetric'


@pytest.fixture
def own_tasks(tmp_path):
    """``own_tasks('talora')``: a config in another folder that inherits custom_multitask.py of this method, with what stands
    there below "Your data"; other tasks are set in one place."""
    def write(method: str) -> Path:
        text = (CONFIGS / method / 'custom_multitask.py').read_text().partition('# Your data.')[2]
        tasks = "tasks = [dict(type='Saliency', name='object'), dict(type='SemanticSegmentation', name='parts', num_classes=3)]"
        text = re.sub(r'tasks = \[\n.*?\n\]', tasks, text, flags=re.DOTALL).replace('seg/mIoU', 'object/maxF')
        path = tmp_path / 'mine.py'
        path.write_text(f"_base_ = 'mmsam_peft::{method}/custom_multitask.py'\n#{text}")
        return path
    return write


@pytest.mark.parametrize('method', MULTI_TASK)
def test_own_tasks_reach_every_part(own_tasks, method):
    cfg = Config.fromfile(own_tasks(method))
    assert list(build_to_count(cfg).tasks) == ['object', 'parts']
    parts = [cfg[f'{part}_dataloader'].dataset for part in PARTS] + [cfg.val_evaluator, cfg.test_evaluator]
    assert all(part.tasks == cfg.model.tasks for part in parts)


@pytest.mark.parametrize('method', ['talora', 'decoder_only'])
def test_own_tasks_train(own_tasks, train_tiny, tmp_path, method):
    rng, parts = np.random.default_rng(0), np.kron(np.arange(16).reshape(4, 4) % 3, np.ones((16, 16))).astype(np.uint8)
    for split in PARTS:
        for folder, pixels in dict(img=rng.integers(0, 255, (64, 64, 3)), object=(parts > 0) * 255, parts=parts).items():
            file = tmp_path / f'data/{folder}_dir/{split}/a.png'
            file.parent.mkdir(parents=True)
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    logged = train_tiny(own_tasks(method), tmp_path / 'data')
    assert all(np.isfinite(logged[f'train/{name}.loss']) for name in ('object', 'parts'))
    assert {'object/maxF', 'parts/PixAcc'} < {name.removeprefix('val/') for name in logged} and 'val/seg/mIoU' not in logged
    assert (tmp_path / 'run/best_object_maxF_epoch_1.pth').exists()
