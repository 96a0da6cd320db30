"""Every config of the zoo: its form, its parts, and a step of training of each method and on each
data set."""

import ast
import json
import re
from copy import deepcopy
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from published_files import write_layout
from torch import nn

from mmsam_peft.analysis.coverage import cell
from mmsam_peft.apis.configs import read_config
from mmsam_peft.apis.inference import build_to_count
from mmsam_peft.apis.launch import build_runner, load_config
from mmsam_peft.apis.overrides import arguments, classes_named
from mmsam_peft.apis.protocols import PROTOCOLS
from mmsam_peft.apis.settings import apply_settings, check_settings
from mmsam_peft.datasets import PublishedDataset
from mmsam_peft.registry import DATASETS, METRICS, MODELS, PEFT

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts
)
BENCHMARKS = sorted(
    str(path.relative_to(ROOT))
    for name in ('base', 'full', 'segformer_b0')
    for path in ROOT.glob(f'benchmarks/*/{name}.py')
)
PARTS = ('train', 'val', 'test')
CLASSES = dict(
    camo=2,
    camvid=11,
    custom=2,
    isic2017=2,
    kvasir=2,
    leaf=2,
    polyp=2,
    roads=2,
    sbu=2,
    trans10k=12,
    trans10k_v1=3,
)

METHODS = dict(
    decoder_only='Frozen',
    full='Full',
    from_scratch='Full',
    bitfit='BitFit',
    norm='NormTuning',
    adapter='Adapter',
    adaptformer='AdaptFormer',
    vpt='VPT',
    lst='LST',
    sam_adapter='SAMAdapter',
    ssf='SSF',
    lora='LoRA',
    dora='DoRA',
    fact='FacT',
    hf_peft='HFPeft',
    convlora='ConvLoRA',
)  # folder: peft type
DATA = tuple(data for data in CLASSES if data != 'custom')
MULTI_TASK = dict(
    talora='TALoRA',
    lora_hps='LoRA',
    lora_stl='TaskLoRA',
    mtlora='TaskLoRA',
    decoder_only='Frozen',
    full='Full',
)
MULTI_TASK_DATA = dict(
    nyuv2=('seg', 'depth', 'normals'),
    cityscapes=('seg', 'depth'),
    pascal_context=('seg', 'parts', 'normals', 'saliency'),
    quickstart_multitask=('seg', 'depth', 'normals'),
)  # tasks
NETWORKS = (
    'segformer/DATA_b0.py',
    'segformer/DATA_b2.py',
    'deeplabv3plus/DATA_r50.py',
    'pspnet/DATA_r50.py',
    'hrnet/DATA_w18.py',
    'translab/DATA.py',
    'trans2seg/DATA.py',
    'upernet/DATA_swint.py',
)
RATES = dict(leaf=3e-4, roads=3e-4)  # where it is not 1e-4
EPOCHS = dict(camo=20, roads=20, sbu=10)  # where they are not 30
TWICE = ('kvasir', 'trans10k', 'custom')  # whose cells the fast tests build

NO_TEMPLATE = {  # configs that are not three lines, and why
    r'full/\w+': 'smaller steps than the recipe has',
    r'from_scratch/\w+': 'no checkpoint',
    r'(convlora/custom|talora/custom_multitask|segformer/custom_b0)': 'your own data: to be copied',
    r'convlora/annotated': 'your own data: to be copied',
    r'convlora/camvid_upernet': 'another head',
    r'pretrain/objects(_hiera)?': 'a data set, a schedule and an aim of its own',
}
TEMPLATE = re.compile(
    r"_base_ = '\.\./_base_/(?:sam|msam)/(?P<recipe>\w+)\.py'\n"
    r"(?:encoder = '\w+'\n)?"
    r'model = dict\(backbone=dict\(peft=dict\(.+\)\)\)\n'
)
NETWORK_TEMPLATE = re.compile(
    r"_base_ = \['\.\./_base_/networks/(?P<network>\w+)\.py', "
    r"'\.\./_base_/datasets/(?P<data>\w+)\.py'\]\n"
    r'model = dict\(decode_head=dict\(num_classes=(\d+)\)'
    r'(?:, auxiliary_head=dict\(num_classes=\3\))?\)\n'
)

ENCODER = dict(
    embed_dim=16, depth=2, num_heads=2, window_size=3, global_attn_indexes=(1,), out_channels=32
)
SMALL_RESNET = {'backbone.base_channels': 4, 'backbone.stem_channels': 4, 'pretrained': None}
RESNET = {
    **SMALL_RESNET,
    'decode_head.in_channels': 128,
    'decode_head.channels': 16,
    'auxiliary_head.in_channels': 64,
}
TINY = dict(
    PEFTSegmentor={
        'checkpoint': None,
        'backbone.arch': dict(ENCODER, _delete_=True),
        'decode_head.in_channels': 32,
        'decode_head.num_heads': 2,
        'decode_head.mlp_dim': 32,
    },
    segformer={'backbone.init_cfg': None},
    hrnet={'pretrained': None},
    pspnet=RESNET,
    deeplabv3plus={**RESNET, 'decode_head.c1_in_channels': 16},
    translab={**SMALL_RESNET, 'decode_head.in_channels': (16, 32, 128), 'decode_head.channels': 16},
    upernet={
        'backbone.init_cfg': None,
        'backbone.embed_dims': 16,
        'backbone.depths': (1, 1, 1, 1),
        'backbone.num_heads': (1, 2, 2, 2),
        'decode_head.in_channels': (16, 32, 64, 128),
        'decode_head.channels': 16,
        'auxiliary_head.in_channels': 64,
    },
    trans2seg={
        **SMALL_RESNET,
        'decode_head.in_channels': (16, 128),
        'decode_head.channels': 8,
        'decode_head.embed_dims': 16,
        'decode_head.num_heads': 2,
    },
)
TINY['MultiTaskSegmentor'] = TINY['PEFTSegmentor']


config_at = cache(read_config)


def kind_of(data: str) -> type[PublishedDataset]:
    return DATASETS.get(config(f'lora/{data}.py').train_dataloader.dataset.type)


def cells(*names: str) -> list:
    """Parameters of a test. Of the cells that differ from others by their data set alone, the fast
    tests look at some."""
    return [
        name if stands_for_others(name) else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


def stands_for_others(name: str) -> bool:
    folder, stem = name.removesuffix('.py').split('/')[-2:]
    alike = {data for data in CLASSES if stem == data or stem.startswith(f'{data}_')}
    return folder == 'convlora' or alike <= {*TWICE}


@cache
def config(name: str) -> Config:
    """A config of the zoo, or of the benchmarks, read once; nothing may write to it."""
    cfg = read_config(CONFIGS / name if (CONFIGS / name).exists() else ROOT / name)
    if name in BENCHMARKS and 'checkpoint' in cfg.model:
        cfg.model.checkpoint = None  # the command line names it
    return cfg


BUILT = {}


def model_of(name: str) -> nn.Module:
    """The config's model without weights. Models that differ in their number of classes alone are
    built once."""
    cfg = deepcopy(config(name))
    key = re.sub(r'"num_(classes|queries)": \d+, ', '', json.dumps(cfg.model.to_dict()) + ', ')
    if key not in BUILT:
        BUILT[key] = build_to_count(cfg)
    return BUILT[key]


def base_files(path: Path) -> list[Path]:
    """The files of ``_base_`` that are ours."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            named = ast.literal_eval(node.value)
            return [
                path.parent / name
                for name in ([named] if isinstance(named, str) else named)
                if '::' not in name
            ]
    return []


def levels(path: Path) -> int:
    return 1 + max(map(levels, base_files(path)), default=0)


def strings(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list | tuple)
        else ()
    )
    return [text for item in inner for text in strings(item)]


@pytest.mark.parametrize('name', cells(*NAMES))
def test_form(name):
    """The first line is the command; cell, recipe, axis, skeleton, and nothing deeper; no absolute
    path."""
    path = CONFIGS / name
    assert path.read_text().splitlines()[0] == f'# python tools/train.py configs/{name}'
    assert levels(path) <= 4
    assert not [text for text in strings(config(name).to_dict()) if text.startswith(('/', '~'))]


@pytest.mark.parametrize('name', NAMES)
def test_a_cell_is_the_template(name):
    """Three lines that name the recipe of the file's own data set, or the network and the data
    set."""
    _, _, rest = (CONFIGS / name).read_text().partition('\n')
    method, stem = name.removesuffix('.py').split('/')
    recipe = TEMPLATE.fullmatch(rest)
    network = NETWORK_TEMPLATE.fullmatch(rest)
    if any(re.fullmatch(pattern, f'{method}/{stem}') for pattern in NO_TEMPLATE):
        assert not recipe and not network, 'it is the template: take it off the list'
    elif network:
        data, name = cell(method, stem)
        assert (network['data'], network['network']) == (data, name)
    else:
        assert recipe and recipe['recipe'] == stem


@pytest.mark.slow
def test_no_checkpoint_is_chosen_by_the_test_set():
    """Where the validation set is the test set, the last weights count."""
    for name in NAMES:
        cfg = config(name)
        if not (cfg.get('val_dataloader') and cfg.get('test_dataloader')):
            continue
        val, test = (
            {key: value for key, value in cfg[part].dataset.items() if key != 'pipeline'}
            for part in ('val_dataloader', 'test_dataloader')
        )
        chosen = cfg.default_hooks.checkpoint.get('save_best')
        assert val != test or not chosen, f'{name} chooses by {chosen} of its test set'


def test_a_protocol_fits_every_config_that_it_is_for():
    """Each takes it once, whole, and again without a change; any other refuses it."""
    for protocol in PROTOCOLS.values():
        for rule in protocol.rules:
            taken = [arguments(kind) for kind in classes_named(rule.type)]
            assert taken and all(rule.values.keys() <= names for names in taken), rule
    found = dict.fromkeys(PROTOCOLS, 0)
    for name in NAMES:
        head = config(name).model.decode_head
        kind = config(name).model.type, head.get('type', 'MSAMHead')
        for protocol, one in PROTOCOLS.items():
            if kind != (one.model, one.head):
                with pytest.raises(ValueError, match=f'{protocol}.* is for a '):
                    apply_settings(config(name), dict(protocol=protocol))  # changes nothing
                continue
            cfg = deepcopy(config(name))
            found[protocol] += 1
            apply_settings(cfg, dict(protocol=protocol))
            check_settings(cfg)
            before = cfg.to_dict()
            apply_settings(cfg)
            assert cfg.to_dict() == before, name
    assert found['conv_lora_2024'] > 40 and found['ta_lora_2024'] > 10


def test_every_reason_is_needed():
    cells = [name.removesuffix('.py') for name in NAMES]
    assert all(any(re.fullmatch(pattern, cell) for cell in cells) for pattern in NO_TEMPLATE)


@pytest.mark.parametrize('name', cells(*NAMES, *BENCHMARKS))
def test_parts(name):
    """The model builds; it, the data sets and the image sizes agree; metrics and test-time
    augmentation build."""
    cfg = config(name)
    check_settings(cfg)
    model, scale = model_of(name), cfg.model.data_preprocessor.size
    datasets = [
        DATASETS.build({**cfg[f'{part}_dataloader'].dataset, 'lazy_init': True}) for part in PARTS
    ]
    if 'tasks' in cfg.model:
        assert all(
            [task.name for task in dataset.tasks] == list(model.tasks) for dataset in datasets
        )
        assert all(
            evaluator.tasks == cfg.model.tasks
            for evaluator in (cfg.val_evaluator, cfg.test_evaluator)
        )
        task, metric = cfg.default_hooks.checkpoint.save_best.split('/')
        assert {'greater': 'higher', 'less': 'lower'}[
            cfg.default_hooks.checkpoint.rule
        ] == model.tasks[task].better[metric]
        assert cfg.default_hooks.visualization.type == 'PanelHook'
    else:
        assert (
            name in BENCHMARKS or MODELS.build({**cfg.tta_model, 'module': model}).module is model
        )
        heads = [cfg.model.decode_head, cfg.model.get('auxiliary_head') or cfg.model.decode_head]
        for dataset in datasets:
            assert {len(dataset.metainfo['classes']), len(dataset.metainfo['palette'])} == {
                head.num_classes for head in heads
            }
            assert {
                step.scale[::-1]
                for step in dataset.pipeline.transforms
                if type(step).__name__ in ('Resize', 'RandomResize')
            } <= {scale}
    if cfg.model.backbone.type == 'SAMViT':
        assert model.backbone.img_size == scale
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        for metric in evaluator if isinstance(evaluator, list) else [evaluator]:
            METRICS.build(metric)
    schedulers = (
        cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    )
    assert schedulers[-1].end == cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters'))


def test_the_tree_is_the_matrix():
    cells = {f'{method}/{data}.py' for method in METHODS for data in (*DATA, 'quickstart')}
    cells -= {'full/quickstart.py', 'from_scratch/quickstart.py'}  # too much for two minutes
    cells |= {f'{method}/{data}.py' for method in MULTI_TASK for data in MULTI_TASK_DATA}
    cells |= {network.replace('DATA', data) for network in NETWORKS for data in CLASSES}
    cells -= {'segformer/custom_b2.py'}  # custom_b0.py with the other file of networks/
    others = {
        'convlora/custom.py',
        'convlora/annotated.py',
        'talora/custom_multitask.py',
        'convlora/camvid_upernet.py',
        'dinov2/kvasir.py',
        'dinov3/kvasir.py',
        'pretrain/objects.py',
        'pretrain/objects_hiera.py',
    }
    assert cells | others == set(NAMES)


def test_every_method_has_configs():
    assert {*METHODS.values(), *MULTI_TASK.values()} == set(PEFT.module_dict)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('data', DATA)
def test_methods(method, data):
    cfg = config(f'{method}/{data}.py')
    assert cfg.model.backbone.peft.type == METHODS[method]
    rate = RATES.get(data, 1e-4) / (10 if method == 'full' else 1)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(rate)
    assert cfg.train_cfg.max_epochs == EPOCHS.get(data, 30)
    assert cfg.model.checkpoint == (None if method == 'from_scratch' else 'published')
    if method == 'convlora':
        assert cfg.model.backbone.peft.get('balance_weight', 1.0) == (
            2.0 if CLASSES[data] > 2 else 1.0
        )


@pytest.mark.parametrize('method', MULTI_TASK)
@pytest.mark.parametrize('data', MULTI_TASK_DATA)
def test_multi_task_methods(method, data):
    cfg, names = config(f'{method}/{data}.py'), MULTI_TASK_DATA[data]
    peft, built = cfg.model.backbone.peft, model_of(f'{method}/{data}.py').backbone.peft
    assert peft.type == MULTI_TASK[method] and bool(peft.get('shared_rank')) == (method == 'mtlora')
    assert tuple(task.name for task in cfg.model.tasks) == names and getattr(
        built, 'num_tasks', len(names)
    ) == len(names)
    rate = 3e-3 if data == 'quickstart_multitask' else 1e-3
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(rate / 10 if method == 'full' else rate)


@pytest.mark.parametrize('arch, parameters', [('large', 308_278_272), ('huge', 637_026_048)])
def test_weights_follow_the_arch(arch, parameters):
    model = build_to_count(
        load_config(str(CONFIGS / 'convlora/kvasir.py'), {'model.backbone.arch': arch})
    )
    assert f'sam_vit_{arch[0]}_' in model.checkpoint
    encoder = model.backbone
    assert (
        sum(p.numel() for name, p in encoder.named_parameters() if name not in encoder.peft.added)
        == parameters
    )


@pytest.mark.parametrize(
    'name, number', [('convlora/custom.py', 1), ('talora/custom_multitask.py', 3)]
)
def test_one_option_changes_the_method_on_your_own_data(name, number):
    """What the first lines of the file say, for every method there is."""
    for method in PEFT.module_dict:
        options = {'model.backbone.peft.type': method}
        if method == 'HFPeft':
            options |= {
                'model.backbone.peft.config.peft_type': 'LOHA',
                'model.backbone.peft.config.r': 4,
            }
        peft = build_to_count(load_config(str(CONFIGS / name), options)).backbone.peft
        assert type(peft).__name__ == method
        assert getattr(peft, 'num_tasks', number) == number


def test_command_line_options():
    options = {
        'model.backbone.peft.rank': 8,
        'model.backbone.arch': 'large',
        'train_dataloader.dataset.data_root': 'elsewhere',
        'optim_wrapper.optimizer.lr': 3e-4,
        'val_dataloader.dataset.mask_values': 'binary255',
    }
    cfg = load_config(str(CONFIGS / 'convlora/kvasir.py'), options)
    encoder = build_to_count(cfg).backbone
    assert encoder.blocks[0].attn.qkv.lora_A.shape == (8, 1024)
    sets = {
        part: DATASETS.build({**cfg[f'{part}_dataloader'].dataset, 'lazy_init': True})
        for part in PARTS
    }
    assert [sets[part].data_root for part in PARTS] == ['elsewhere', 'data/kvasir/', 'data/kvasir/']
    assert [sets[part].given_values for part in PARTS] == [None, 'binary255', None]
    assert cfg.optim_wrapper.optimizer.lr == 3e-4


@pytest.fixture
def write_data(tmp_path):
    """``write_data('camvid', 11)``: two images of 64 x 64 for each split, in the data set's layout,
    that show every class."""

    def write(name: str, num_classes: int) -> Path:
        rng, root = np.random.default_rng(0), tmp_path / 'data'
        if name not in ('kvasir', 'camvid', 'custom'):
            write_layout(root, kind_of(name), side=64)
            return root
        stored = 255 if (name, num_classes) == ('custom', 2) else 1
        for split, i in product(PARTS, range(2)):
            mask = np.kron(rng.permutation(16).reshape(4, 4) % num_classes, np.ones((16, 16)))
            mask = mask.astype(np.uint8)
            image = np.stack([mask * 20] * 3, -1) + rng.integers(0, 15, (64, 64, 3), dtype=np.uint8)
            for folder, pixels in dict(img_dir=image, ann_dir=mask * stored).items():
                path = root / folder / split / f'{i}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        return root

    return write


def made_tiny(path: Path, data_root: Path, options: dict | None = None) -> Config:
    """The config on 64 x 64 pixels, its model made small."""
    options = {'image_size': 64, **(options or {})}
    for part in PARTS:
        loader = f'{part}_dataloader'
        options |= {
            f'{loader}.num_workers': 0,
            f'{loader}.persistent_workers': False,
            f'{loader}.dataset.data_root': str(data_root),
        }
        kind = DATASETS.get(config_at(path)[loader].dataset.type)
        if issubclass(kind, PublishedDataset):
            options[f'{loader}.dataset.allow_partial'] = True
    cfg = load_config(str(path), options, str(data_root.parent / 'run'))
    init_default_scope(cfg.default_scope)
    tiny = TINY.get(cfg.model.type) or TINY[path.parent.name]
    cfg.merge_from_dict({f'model.{key}': value for key, value in tiny.items()})
    return cfg


def one_epoch(path: Path) -> dict:
    """The options that make a training so long; the parts of its schedule stay where they can."""
    settings = read_config(path)
    return {
        name if name in settings else f'train_cfg.{name}': 1
        for name in ('max_epochs', 'val_interval')
    }


@pytest.fixture
def train_tiny(tmp_path, monkeypatch):
    """Trains a config, its model made small, for one iteration on 64 x 64 pixels, and validates it;
    returns what was logged."""
    monkeypatch.setenv(
        'TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1'
    )  # build_runner sets it; this takes it back
    # MMEngine formats the config seven times, which takes longer than all else
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True))

    def train(path: Path, data_root: Path, options: dict | None = None) -> dict[str, float]:
        runner = build_runner(
            made_tiny(
                path,
                data_root,
                {
                    **one_epoch(path),
                    'experiment_name': tmp_path.name,
                    'batch_size': 2,
                    **(options or {}),
                },
            )
        )
        runner.train()
        return {
            key: buffer.current()
            for key, buffer in runner.message_hub.log_scalars.items()
            if buffer.data[0].size
        }

    return train


@pytest.mark.parametrize(
    'name',
    [f'{method}/kvasir.py' for method in METHODS]
    + [f'{method}/quickstart_multitask.py' for method in MULTI_TASK],
)
def test_a_step_of_every_method(write_data, tmp_path, name):
    """The losses are finite, the step changes the decoder, and of the encoder what the method
    trains alone."""
    if 'multitask' in name:
        cfg = made_tiny(
            CONFIGS / name, tmp_path / 'data', {'train_dataloader.dataset.num_images': 2}
        )
    else:
        cfg = made_tiny(CONFIGS / name, write_data('kvasir', 2))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    before = {key: value.clone() for key, value in model.named_parameters()}
    batch = next(iter(Runner.build_dataloader({**cfg.train_dataloader, 'batch_size': 2})))
    losses = model.train_step(batch, build_optim_wrapper(model, cfg.optim_wrapper))
    assert losses['loss'] > 0 and all(torch.isfinite(loss).all() for loss in losses.values())
    changed = {key for key, value in model.named_parameters() if not value.equal(before[key])}
    assert any(key.startswith('decode_head.') for key in changed)
    assert any(key.startswith('backbone.') for key in changed) == ('decoder_only' not in name)
    assert changed <= {key for key, value in model.named_parameters() if value.requires_grad}


@pytest.mark.parametrize(
    'name',
    [f'lora/{data}.py' for data in DATA]
    + [
        pytest.param(network.replace('DATA', data), marks=pytest.mark.slow)
        for network in NETWORKS
        for data in DATA
    ],
)
def test_a_step_on_every_set(write_data, name):
    """The loss is finite, and the test's metrics are numbers, of each test set by itself."""
    data = re.sub('_(b0|b2|r50|w18|swint)$', '', Path(name).stem)
    cfg = made_tiny(CONFIGS / name, write_data(data, CLASSES[data]))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    batch = next(iter(Runner.build_dataloader({**cfg.train_dataloader, 'batch_size': 2})))
    losses = model.train_step(batch, build_optim_wrapper(model, cfg.optim_wrapper))
    assert losses['loss'] > 0 and torch.isfinite(losses['loss'])
    evaluator, loader = Evaluator(cfg.test_evaluator), Runner.build_dataloader(cfg.test_dataloader)
    evaluator.dataset_meta = loader.dataset.metainfo
    model.eval()
    with torch.no_grad():
        for batch in loader:
            evaluator.process(model.test_step(batch), batch)
    scores = evaluator.evaluate(len(loader.dataset))
    assert all(0 <= score <= 100 for score in scores.values())
    best = cfg.default_hooks.checkpoint.save_best
    sets = loader.dataset.metainfo.get('sets') or ['']
    assert {f'{name}/{best}'.removeprefix('/') for name in sets} <= set(scores)
    assert len(sets) == (2 if data in ('polyp', 'camo', 'trans10k_v1') else 1)


@pytest.mark.parametrize(
    'name, metric',
    [
        ('convlora/kvasir.py', 'S'),
        ('lora/camvid.py', 'mIoU'),
        ('decoder_only/trans10k.py', 'mIoU'),
        ('convlora/custom.py', 'Dice'),
        ('segformer/kvasir_b0.py', 'S'),
        ('deeplabv3plus/camvid_r50.py', 'mIoU'),
        ('pspnet/custom_r50.py', 'Dice'),
        ('hrnet/trans10k_w18.py', 'mIoU'),
        ('translab/trans10k.py', 'mIoU'),
        ('trans2seg/trans10k.py', 'mIoU'),
    ],
)
def test_trains_on_every_data_set(write_data, train_tiny, tmp_path, name, metric):
    data = Path(name).stem.split('_')[0]
    logged = train_tiny(CONFIGS / name, write_data(data, CLASSES[data]))
    assert np.isfinite(logged['train/loss'])
    assert 0 <= logged[f'val/{metric}'] <= 100
    assert len(list((tmp_path / 'run').glob(f'best_{metric}_epoch_1.pth'))) == 1
    assert (tmp_path / 'run/adapter_best.safetensors').exists() == (
        'PEFT' in config(name).model.type
    )


def test_trains_on_annotations(write_data, train_tiny, tmp_path):
    """COCO files of the splits, each with the folder of its images."""
    root = write_data('kvasir', 2)
    options = {}
    for part in PARTS:
        prefix = f'{part}_dataloader.dataset'
        options[f'{prefix}.data_prefix.img_path'] = f'img_dir/{part}'
        options[f'{prefix}.categories.object'] = ['square']
        squares, images = [], []
        for number in range(2):
            images.append(dict(id=number, file_name=f'{number}.png', width=64, height=64))
            mask = np.asarray(Image.open(root / f'ann_dir/{part}/{number}.png'))
            for y, x in np.argwhere(mask[::16, ::16]).tolist():
                corners = [x, y, x + 1, y, x + 1, y + 1, x, y + 1]
                ring = [16 * corner for corner in corners]
                squares.append(dict(image_id=number, category_id=4, segmentation=[ring]))
        categories = [dict(id=4, name='square')]
        stored = dict(images=images, annotations=squares, categories=categories)
        (root / 'annotations').mkdir(exist_ok=True)
        (root / f'annotations/{part}.json').write_text(json.dumps(stored))
    logged = train_tiny(CONFIGS / 'convlora/annotated.py', root, options)
    assert np.isfinite(logged['train/loss']) and 0 <= logged['val/Dice'] <= 100
    mask = np.asarray(Image.open(root / 'ann_dir/test/0.png'))
    cfg = made_tiny(CONFIGS / 'convlora/annotated.py', root, options)
    data = DATASETS.build(cfg.test_dataloader.dataset)
    assert (data[0]['data_samples'].gt_sem_seg.data[0].numpy() == mask).all()


@pytest.mark.parametrize('name', ['convlora/custom.py', 'segformer/custom_b0.py'])
def test_own_data_with_three_classes(write_data, train_tiny, tmp_path, name):
    """What the config's last comment says makes it multi-class."""
    text = (CONFIGS / name).read_text()
    edits = {
        "'background', 'object'": "'background', 'cat', 'dog'",
        '[0, 255, 0]]': '[0, 255, 0], [255, 0, 0]]',
        "'binary255'": "'index'",
        'sam_binary': 'sam_multiclass',
        '../_base_': str(CONFIGS / '_base_'),
    }
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
    """A config in another folder that inherits talora/custom_multitask.py, with what stands there
    below "Your data"; other tasks are set in one place."""
    text = (CONFIGS / 'talora/custom_multitask.py').read_text().partition('# Your data.')[2]
    parts = "dict(type='SemanticSegmentation', name='parts', num_classes=3)"
    tasks = f"tasks = [dict(type='Saliency', name='object'), {parts}]"
    text = re.sub(r'tasks = \[\n.*?\n\]', tasks, text, flags=re.DOTALL).replace(
        'seg/mIoU', 'object/maxF'
    )
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = 'mmsam_peft::talora/custom_multitask.py'\n#{text}")
    return path


def test_own_tasks_reach_every_part(own_tasks):
    cfg = Config.fromfile(own_tasks)
    model = build_to_count(cfg)
    assert list(model.tasks) == ['object', 'parts'] and model.backbone.peft.num_tasks == 2
    parts = [cfg[f'{part}_dataloader'].dataset for part in PARTS] + [
        cfg.val_evaluator,
        cfg.test_evaluator,
    ]
    assert all(part.tasks == cfg.model.tasks for part in parts)


@pytest.mark.parametrize('method', ['TALoRA', 'Frozen'])
def test_own_tasks_train(own_tasks, train_tiny, tmp_path, method):
    rng, parts = (
        np.random.default_rng(0),
        np.kron(np.arange(16).reshape(4, 4) % 3, np.ones((16, 16))).astype(np.uint8),
    )
    for split in PARTS:
        for folder, pixels in dict(
            img=rng.integers(0, 255, (64, 64, 3)), object=(parts > 0) * 255, parts=parts
        ).items():
            file = tmp_path / f'data/{folder}_dir/{split}/a.png'
            file.parent.mkdir(parents=True)
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    logged = train_tiny(own_tasks, tmp_path / 'data', {'model.backbone.peft.type': method})
    assert all(np.isfinite(logged[f'train/{name}.loss']) for name in ('object', 'parts'))
    assert {'object/maxF', 'parts/PixAcc'} < {
        name.removeprefix('val/') for name in logged
    } and 'val/seg/mIoU' not in logged
    assert (tmp_path / 'run/best_object_maxF_epoch_1.pth').exists()
