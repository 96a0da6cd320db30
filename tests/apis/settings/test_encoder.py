"""Every encoder of the table in every recipe: what follows from its name, and a step of
training."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from tiny_encoders import TINY_SAM2, TINY_SAM3, TINY_VIT

from mmsam_peft.adapters.recipe import base_weights
from mmsam_peft.apis.configs import read_config
from mmsam_peft.apis.inference import build_to_count
from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.settings import apply_settings, check_settings
from mmsam_peft.models.backbones.hf_vit import ARCHS
from mmsam_peft.models.backbones.variants import VARIANTS, address_of, variant_of
from mmsam_peft.registry import MODELS
from mmsam_peft.start.encoders import find_encoder

CONFIGS = Path(__file__).parents[3] / 'configs'
FIRST = {
    (variant.backbone['type'], *sorted(variant.head)): name
    for name, variant in reversed(VARIANTS.items())
}.values()
"""One for all that have the same network, in any size, under the same head."""
RECIPES = [f'convlora/{path.stem}.py' for path in (CONFIGS / 'convlora').glob('*.py')]
RECIPES = sorted({*RECIPES} - {'convlora/camvid_upernet.py'})
RECIPES += [f'lora_hps/{path.stem}.py' for path in sorted((CONFIGS / 'lora_hps').glob('*.py'))]
QUICK = ('convlora/kvasir.py', 'lora_hps/pascal_context.py')
EVERYWHERE = ('sam2.1_hiera_tiny', 'sam2.1_hiera_small', 'sam3', 'mobile_sam')
MAP = dict(embed_dim=32, depth=2, num_heads=2, out_channels=32)
TINY = dict(
    SAMViT=dict(MAP, global_attn_indexes=(0,), window_size=3),
    SAM3ViT=TINY_SAM3,
    EfficientSAMViT=dict(MAP, learnt_size=3),
    Hiera=TINY_SAM2,
    TinyViT=TINY_VIT,
)
HF = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, out_channels=32)


read = cache(read_config)


def given(recipe: str, name: str):
    """The recipe with another encoder."""
    cfg = deepcopy(read(CONFIGS / recipe))
    apply_settings(cfg, dict(encoder=name))
    check_settings(cfg)
    return cfg


def fast(names) -> list:
    return [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize('name', fast(VARIANTS))
def test_what_follows_from_a_name(name):
    variant = VARIANTS[name]
    for recipe in ('lora/kvasir.py', 'talora/nyuv2.py', 'bitfit/quickstart.py'):
        cfg = given(recipe, name)
        model, was = cfg.model, read(CONFIGS / recipe).model
        assert variant_of(model.backbone, model.decode_head) == name
        assert address_of(model.checkpoint, model.backbone, model.decode_head) == variant.address
        prepared = model.data_preprocessor
        assert (tuple(prepared.mean), tuple(prepared.std)) == (variant.mean, variant.std)
        assert all(side % variant.patch == 0 for side in prepared.size)
        assert abs(max(prepared.size) / max(was.data_preprocessor.size) - 1) < 0.1
        assert model.backbone.peft == was.backbone.peft
        before = cfg.to_dict()
        apply_settings(cfg)
        assert cfg.to_dict() == before
        apply_settings(cfg, dict(encoder='sam_vit_b'))  # and back
        assert variant_of(cfg.model.backbone) == 'sam_vit_b' and cfg.model.checkpoint == 'published'
        assert cfg.model.decode_head.get('stride', 16) == 16


@pytest.mark.parametrize('name', fast(VARIANTS))
def test_the_head_fits_the_maps(name):
    """At the native size, of which nothing is padded; and the preprocessing is the encoder's."""
    variant = VARIANTS[name]
    side = variant.image_size
    assert side % variant.patch == 0 and variant.least % variant.patch == 0
    model = build_to_count(given('lora/kvasir.py', name))
    with torch.device('meta'), torch.no_grad():
        maps = model.backbone.eval()(torch.empty(1, 3, side, side))
    head = model.decode_head
    assert maps[-1].shape == (1, head.in_channels, side // head.stride, side // head.stride)
    assert [len(one.shape) for one in maps] == [4] * len(maps)
    assert model.variant is variant


def labels(task) -> torch.Tensor:
    values = torch.ones(task.label_channels, 64, 64) / task.label_channels**0.5
    return values.long() if 'PixAcc' in task.better else values


def samples(model) -> list[SegDataSample]:
    found = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
        for task in getattr(model, 'tasks', {}).values():
            valid = torch.ones(1, 64, 64, dtype=torch.bool)
            sample.set_field(PixelData(data=labels(task), valid=valid), f'gt_{task.name}')
        if not hasattr(model, 'tasks'):
            classes = torch.randint(model.num_classes, (1, 64, 64))
            sample.gt_sem_seg = PixelData(data=classes)
        found.append(sample)
    return found


@pytest.mark.parametrize(
    'name, recipe',
    [(name, recipe) for name in FIRST for recipe in QUICK]
    + [
        pytest.param(name, recipe, marks=pytest.mark.slow)
        for name in EVERYWHERE
        for recipe in RECIPES
    ],
)
def test_a_step_in_every_recipe(name, recipe):
    """On images of 64 x 64, which some encoders pad, with the encoder and the decoder made small:
    the loss is finite, and changes both."""
    cfg = load_config(str(CONFIGS / recipe), dict(encoder=name, image_size=64))
    init_default_scope(cfg.default_scope)
    backbone, head = cfg.model.backbone, cfg.model.decode_head
    kind = backbone.type
    arch = (
        dict(HF, model_type=ARCHS[backbone.arch]['model_type']) if kind == 'HFViT' else TINY[kind]
    )
    del backbone['arch']
    backbone.arch, cfg.model.checkpoint = arch, None
    head.update(in_channels=32, num_heads=2, mlp_dim=32)
    if head.get('hq'):
        head.hq.channels = 32
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    before = {key: value.clone() for key, value in model.named_parameters()}
    images = list(torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8))
    batch = dict(inputs=images, data_samples=samples(model))
    losses = model.train_step(batch, build_optim_wrapper(model, cfg.optim_wrapper))
    assert losses['loss'] > 0 and torch.isfinite(losses['loss'])
    changed = {key for key, value in model.named_parameters() if not value.equal(before[key])}
    assert {key.split('.')[0] for key in changed} == {'backbone', 'decode_head'}
    with torch.no_grad():
        maps = model.eval().extract_feat(torch.zeros(1, 3, 64, 64))
    assert maps[-1].shape[-1] == -(-64 // model.decode_head.stride)


def write(tmp_path, *lines: str) -> Path:
    path = tmp_path / 'config.py'
    path.write_text('\n'.join([f"_base_ = '{CONFIGS / 'lora/kvasir.py'}'", *lines]) + '\n')
    return path


def test_what_a_user_says_stays(tmp_path):
    own = "model = dict(checkpoint='mine.pth', data_preprocessor=dict(mean=[1, 2, 3]))"
    for line in ('image_size = 1024', ''):
        cfg = load_config(write(tmp_path, "encoder = 'dinov2_small'", line, own))
        assert cfg.model.backbone.img_size == ((1024, 1024) if line else (1022, 1022))
        assert cfg.model.checkpoint == 'mine.pth' and cfg.model.data_preprocessor.mean == [1, 2, 3]
    asked = dict(encoder='sam3', image_size=(240, 320))
    cfg = load_config(write(tmp_path, own), asked)
    check_settings(cfg)
    assert cfg.model.data_preprocessor.size == (240, 320)
    with pytest.raises(ValueError, match='encoder=sam_vit_b, but .*\n.*decode_head.stride: 8'):
        load_config(write(tmp_path), {'model.decode_head.stride': 8, 'encoder': 'sam_vit_b'})


def test_what_an_encoder_does_not_know(tmp_path):
    """Its default is left out, anything else an error."""
    known = "model = dict(backbone=dict(attention='{}', checkpointing=True, unfreeze=['neck']))"
    cfg = load_config(write(tmp_path, known.format('fused')), dict(encoder='dinov2_small'))
    assert 'attention' not in cfg.model.backbone
    assert cfg.model.backbone.checkpointing and cfg.model.backbone['unfreeze'] == ['neck']
    with pytest.raises(ValueError, match='HFViT, which has no attention, but .*attention=eager'):
        load_config(write(tmp_path, known.format('eager')), dict(encoder='dinov2_small'))


def test_start_knows_all_of_them(tmp_path):
    for name, variant in VARIANTS.items():
        found = find_encoder(name)
        assert found.variant is variant
        assert (found.advice or '').count(str(variant.licence)) == variant.gated
        assert variant.fitted((512, 384))[0] % variant.patch == 0
        assert find_encoder(name, tmp_path).advice is None
    with pytest.raises(ValueError, match='did you mean sam2.1_hiera_small'):
        find_encoder('sam21_hiera_small')


@pytest.mark.parametrize('name', ['sam_vit_b', 'sam3', 'dinov3_vits16'])
def test_an_adapter_names_the_licence_of_its_base(name):
    """Of gated weights wherever their file lies; of others where it is the published one."""
    variant, backbone = VARIANTS[name], SimpleNamespace(checkpoint=None)
    for checkpoint in (variant.address, 'mine.safetensors'):
        model = SimpleNamespace(checkpoint=checkpoint, backbone=backbone, variant=variant)
        published = checkpoint == variant.address
        expected = variant.licence if published or variant.gated else None
        found = base_weights(model)
        assert (found['published'], found['licence']) == (published, expected)
