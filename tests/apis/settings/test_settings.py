"""One variable at the top of a config reaches all places it is for, in every kind of config; what
contradicts it, or itself, is refused by the names of the places."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmsam_peft.apis.inference import build_to_count, init_model
from mmsam_peft.apis.launch import build_runner, load_config
from mmsam_peft.apis.run_name import run_name
from mmsam_peft.apis.settings import check_settings

CONFIGS = Path(__file__).parents[3] / 'configs'
SINGLE, MULTI, NETWORK = 'lora/quickstart.py', 'talora/nyuv2.py', 'segformer/camvid_b0.py'


@pytest.fixture
def write(tmp_path):
    """``write('lora/kvasir.py', 'image_size = 96')``: the path of a config that inherits one of the
    zoo and has these lines."""

    def write(base: str, *lines: str) -> Path:
        path = tmp_path / 'mine' / 'config.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text('\n'.join([f"_base_ = '{CONFIGS / base}'", *lines]) + '\n')
        return path

    return write


def steps(cfg: Config, key: str) -> list:
    """The arguments of this name of all steps of all pipelines that are read."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            found.extend([node[key]] if 'type' in node and key in node else [])
            node = list(node.values())
        for one in node if isinstance(node, list | tuple) else ():
            walk(one)

    for part in ('train', 'val', 'test'):
        walk(cfg[f'{part}_dataloader'].dataset.pipeline)
    walk(cfg.get('test_pipeline', []))
    walk(cfg.get('tta_pipeline', []))
    return found


@pytest.mark.parametrize('where', ['file', 'option'])
def test_image_size_single_task(write, where):
    path = write(SINGLE, *['image_size = (96, 128)'] * (where == 'file'))
    cfg = load_config(path, None if where == 'file' else {'image_size': [96, 128]})
    check_settings(cfg)
    model = cfg.model
    assert model.backbone.img_size == model.data_preprocessor.size == cfg.image_size == (96, 128)
    assert steps(cfg, 'scale') == [(128, 96)] * 5
    assert load_config(path, {'image_size': 64}).model.backbone.img_size == (64, 64)


def test_image_size_of_several_tasks_and_of_other_networks(write):
    cfg = load_config(write(MULTI, 'image_size = (144, 192)'))
    prepared = cfg.model.data_preprocessor
    assert cfg.model.backbone.img_size == prepared.size == prepared.test_cfg.size == (144, 192)
    assert steps(cfg, 'size') == [192] * 4
    cfg = load_config(write(NETWORK, 'image_size = 320'))
    assert cfg.model.data_preprocessor.size == (320, 320) and 'img_size' not in cfg.model.backbone
    assert steps(cfg, 'scale') == [(320, 320)] * 5


WINDOWS = """
model = dict(test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(512, 512)))
scene = [
    dict(type='LoadImageFromFile'), dict(type='LoadMask'),
    dict(type='RandomResize', scale=(4000, 3000), ratio_range=(0.5, 2)),
    dict(type='RandomCrop', crop_size=(1024, 1024)), dict(type='PackSegInputs')]
whole = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(4000, 3000)),
    dict(type='LoadMask'), dict(type='PackSegInputs')]
test_pipeline = whole
train_dataloader = dict(dataset=dict(pipeline=scene))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=whole))
"""


def test_windows(write):
    """The windows have the network's size; scenes keep theirs."""
    check_settings(load_config(write('lora/kvasir.py', WINDOWS)))
    cfg = load_config(write('lora/kvasir.py', WINDOWS, 'image_size = 256'))
    check_settings(cfg)
    assert cfg.model.test_cfg.crop_size == cfg.model.backbone.img_size == (256, 256)
    assert cfg.model.test_cfg.stride == (170, 170)
    assert [step.crop_size for step in cfg.train_dataloader.dataset.pipeline[3:4]] == [(256, 256)]
    assert cfg.test_pipeline[1].scale == (4000, 3000) and cfg.train_dataloader.dataset.pipeline[
        2
    ].scale == (4000, 3000)
    with pytest.raises(ValueError, match=r'test_cfg.crop_size: \(512, 512\)'):
        check_settings(
            load_config(
                write('lora/kvasir.py', WINDOWS),
                {'image_size': 256} | {'model.test_cfg.crop_size': (512, 512)},
            )
        )


RESIZE = "dict(type='Resize', scale={}, keep_ratio=False)"
OWN = (
    "steps = [dict(type='LoadImageFromFile'), dict(type='LoadMask'), "
    + RESIZE.format('(160, 160)')
    + ", dict(type='PackSegInputs')]"
)
SET = (
    'train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(pipeline=steps))',
    'test_pipeline = steps',
    'model = dict(data_preprocessor=dict(size=(160, 160)), backbone=dict(img_size=160))',
)


def test_places_that_disagree(write):
    """By hand, one was forgotten: test-time augmentation at 256, the rest at 160."""
    cfg = load_config(write(SINGLE, OWN, *SET))
    with pytest.raises(ValueError) as found:
        build_runner(cfg)
    assert 'made for images of 160 x 160' in str(found.value)
    assert '\n  tta_pipeline.1.transforms.0.0.scale: (256, 256)\n' in str(found.value)
    assert 'train_dataloader' not in str(found.value)
    check_settings(load_config(write(SINGLE, OWN, *SET), {'image_size': 160}))


@pytest.mark.parametrize(
    'option',
    [
        'model.backbone.img_size',
        'model.data_preprocessor.size',
        'train_dataloader.dataset.pipeline.2.scale',
        'val_dataloader.dataset.pipeline.1.scale',
        'test_dataloader.dataset.pipeline.1.scale',
        'tta_pipeline.1.transforms.0.0.scale',
    ],
)
def test_an_option_that_disagrees(option):
    """With the setting, and without."""
    for options in ({}, {'image_size': 128}):
        with pytest.raises(ValueError, match='image_size') as found:
            check_settings(load_config(CONFIGS / SINGLE, {**options, option: (512, 512)}))
        assert option in str(found.value) or option == 'model.backbone.img_size'


def test_two_intentions(write):
    """A pipeline written by hand for another size than the setting and the bases."""
    with pytest.raises(
        ValueError, match=r'image_size=\(96, 96\), but .*\(256, 256\).*\(160, 160\)'
    ):
        load_config(write(SINGLE, 'image_size = 96', OWN, SET[0]))


def test_a_pipeline_without_a_size(write):
    bare = "[dict(type='LoadImageFromFile'), dict(type='LoadMask'), dict(type='PackSegInputs')]"
    line = f'val_dataloader = dict(dataset=dict(pipeline={bare}))'
    with pytest.raises(ValueError, match='val_dataloader.dataset.pipeline has no step that brings'):
        load_config(write(SINGLE, 'image_size = 96', line))


@pytest.mark.parametrize('value', ['"big"', '0', '-64', '2.5', '(1, 2, 3)', 'True', '(64, "64")'])
def test_values_that_are_no_sizes(write, value):
    with pytest.raises(ValueError, match='image_size=.*expected a whole number of pixels'):
        load_config(write(SINGLE, f'image_size = {value}'))


def test_max_epochs(write):
    """The schedule ends with the training, a warm-up of 5 % stays one."""
    cfg = load_config(write(MULTI, 'max_epochs = 50'))
    assert cfg.train_cfg.max_epochs == 50 and cfg.train_cfg.val_interval == 2
    ends = [(part.begin, part.end) for part in cfg.param_scheduler]
    assert ends == [(0, 2.5), (2.5, 50)]
    cfg = load_config(CONFIGS / MULTI, {'max_epochs': 10})
    assert [(part.begin, part.end) for part in cfg.param_scheduler] == [(0, 0.5), (0.5, 10)]
    assert cfg.train_cfg.val_interval == 1
    cfg = load_config(CONFIGS / SINGLE, {'max_epochs': 12})
    assert cfg.param_scheduler[0].end == 10, 'iterations stay'
    assert (cfg.param_scheduler[1].end, cfg.train_cfg.max_epochs) == (12, 12)
    assert cfg.train_cfg.val_interval == 1
    for option in ('train_cfg.max_epochs', 'param_scheduler.1.end'):
        with pytest.raises(ValueError, match=f'max_epochs=12, but other .*\n  {option}: 30'):
            check_settings(load_config(CONFIGS / SINGLE, {'max_epochs': 12, option: 30}))
    with pytest.raises(ValueError, match='counts iterations'):
        load_config(CONFIGS / 'pretrain/objects.py', {'max_epochs': 3})


def test_lr_and_batch_size(write):
    cfg = load_config(write(NETWORK, 'lr = 3e-4', 'batch_size = 6'))
    assert cfg.optim_wrapper.optimizer.lr == 3e-4 and cfg.train_dataloader.batch_size == 6
    assert cfg.val_dataloader.batch_size == 1
    for line in ('lr = 0', 'lr = "1e-3"', 'batch_size = 0', 'batch_size = 2.0', 'max_epochs = 0'):
        with pytest.raises(ValueError, match=f'{line.split()[0]}=.*: expected a'):
            load_config(write(NETWORK, line))
    with pytest.raises(ValueError, match=r'lr=0.0003, but .*\n  optim_wrapper.optimizer.lr: 0.1'):
        load_config(write(NETWORK), {'lr': 3e-4, 'optim_wrapper.optimizer.lr': 0.1})


def test_a_tool_that_knows_no_settings(tiny, tmp_path):
    """MMEngine's runner, from the file as it is."""
    cfg = tiny()
    cfg.image_size = 96
    with pytest.raises(ValueError, match=r'(?s)image_size=\(96, 96\), but .*img_size: \(64, 64\)'):
        Runner.from_cfg(cfg).call_hook('before_run')


def test_the_dumped_config_says_the_same(write, tmp_path):
    cfg = load_config(write(MULTI, 'image_size = (144, 192)', 'max_epochs = 50', 'lr = 1'))
    cfg.dump(tmp_path / 'dumped.py')
    again = load_config(tmp_path / 'dumped.py')
    check_settings(again)
    check_settings(Config.fromfile(tmp_path / 'dumped.py'))
    assert {**again.to_dict(), 'work_dir': ''} == {**cfg.to_dict(), 'work_dir': ''}


def test_names_of_runs():
    options = {'image_size': 256, 'lr': 0.001}
    assert run_name(CONFIGS / SINGLE, options) == 'lora/quickstart_image_size=256_lr=0.001'


def test_encoder_and_method(write):
    """The small encoder of the quickstart gives way to SAM's, with its decoder's sizes."""
    cfg = load_config(write(SINGLE, "encoder = 'sam_vit_l'", "method = 'LoRA(rank=2)'"))
    check_settings(cfg)
    model = build_to_count(cfg)
    assert model.backbone.arch['embed_dim'] == 1024 and 'sam_vit_l' in model.checkpoint
    assert model.backbone.blocks[0].attn.qkv.lora_A.shape == (2, 1024)
    assert model.backbone.img_size == (256, 256)
    cfg = load_config(
        write('full/kvasir.py', "model = dict(checkpoint='mine.pth')"),
        {'encoder': 'sam_vit_h', 'method': 'Frozen'},
    )
    assert (cfg.model.backbone.arch, cfg.model.checkpoint) == ('huge', 'mine.pth')
    assert cfg.model.backbone.peft == dict(type='Frozen')
    cfg = load_config(write(MULTI, "method = 'TaskLoRA(rank=4)'"))
    assert build_to_count(cfg).backbone.peft.num_tasks == 3


@pytest.mark.parametrize(
    ('base', 'line', 'message'),
    [
        (SINGLE, "encoder = 'sam_vit_x'", 'unknown: there are sam_vit_b'),
        (SINGLE, "encoder = 'sam_vit_bb'", 'did you mean sam_vit_b?'),
        (NETWORK, "encoder = 'sam_vit_b'", 'EncoderDecoder, has no encoder that could be replaced'),
        (SINGLE, "method = 'Lora'", 'no method Lora: did you mean LoRA'),
        (SINGLE, "method = 'LoRA(8)'", 'expected a method'),
        (NETWORK, "method = 'LoRA'", 'EncoderDecoder, is not fine-tuned by methods'),
    ],
)
def test_encoders_and_methods_that_do_not_go(write, base, line, message):
    with pytest.raises(ValueError, match=message):
        load_config(write(base, line))


def test_an_option_beside_encoder_and_method():
    for setting, option, value in (
        (dict(encoder='sam_vit_l'), 'model.backbone.arch', 'huge'),
        (dict(method='LoRA(rank=8)'), 'model.backbone.peft.rank', 4),
    ):
        with pytest.raises(
            ValueError, match=rf'(?s)but other places .*{option.rpartition(".")[0]}'
        ):
            check_settings(load_config(CONFIGS / SINGLE, {**setting, option: value}))


def test_a_config_that_is_handed_on_stays_as_it_is(tiny):
    cfg = tiny()
    model = init_model(cfg, None, 'cpu', {'image_size': 96})
    assert model.backbone.img_size == (96, 96) and cfg.model.backbone.img_size == 64
    assert 'image_size' not in cfg and model.cfg.test_pipeline[1].scale == (96, 96)
