"""Small encoders and heads, SAM's own modules in the same sizes, and batches to feed them."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from tiny_encoders import TINY_SAM

from mmsam_peft.registry import MODELS
from mmsam_peft.safe_load import load_safetensors

DATA = Path(__file__).parents[1] / 'data'
HEAD = dict(type='SAMMaskHead', in_channels=32, num_heads=2, mlp_dim=64)


@pytest.fixture(autouse=True)
def scope():
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        yield


@pytest.fixture
def arch():
    return dict(TINY_SAM)


@pytest.fixture(params=['global', 'window3'])
def golden(request):
    """Weights and numbers of a small SAM; its encoder's arch, image size and decoder sizes."""
    state, sizes = load_safetensors(DATA / f'sam_tiny_{request.param}.safetensors')
    sizes = {key: json.loads(value) for key, value in sizes.items()}
    img_size = sizes.pop('img_size')
    head = dict(
        in_channels=sizes['out_chans'],
        num_heads=sizes.pop('decoder_heads'),
        mlp_dim=sizes.pop('decoder_mlp_dim'),
    )
    return state, dict(sizes, out_channels=sizes.pop('out_chans')), img_size, head


@pytest.fixture
def encoder():
    """``encoder(**changes)`` builds a small SAMViT."""
    return lambda **changes: MODELS.build(
        {**dict(type='SAMViT', arch=dict(TINY_SAM), img_size=80), **changes}
    )


@pytest.fixture
def sam(randomise):
    """``sam(img_size)``: segment-anything's model in the sizes of the small encoder, randomly
    filled."""
    from segment_anything.modeling import (  # importable once mmsam_peft is
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    def build(img_size=80, **changes):
        sizes = {**TINY_SAM, **changes}
        grid = img_size // 16
        return randomise(
            Sam(
                ImageEncoderViT(
                    img_size=img_size,
                    embed_dim=sizes['embed_dim'],
                    depth=sizes['depth'],
                    num_heads=sizes['num_heads'],
                    norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                    out_chans=sizes['out_channels'],
                    use_rel_pos=True,
                    window_size=sizes['window_size'],
                    global_attn_indexes=sizes['global_attn_indexes'],
                ),
                PromptEncoder(
                    embed_dim=32,
                    image_embedding_size=(grid, grid),
                    input_image_size=(img_size, img_size),
                    mask_in_chans=16,
                ),
                MaskDecoder(
                    transformer_dim=32,
                    transformer=TwoWayTransformer(
                        depth=2, embedding_dim=32, mlp_dim=64, num_heads=2
                    ),
                ),
            )
        )

    return build


@pytest.fixture
def segmentor():
    """``segmentor(peft=dict(...), head=dict(...), **changes)`` builds a small PEFTSegmentor."""

    def build(peft=None, head=None, **changes):
        backbone = dict(type='SAMViT', arch=dict(TINY_SAM), img_size=64, peft=peft)
        model = dict(
            type='PEFTSegmentor',
            backbone=backbone,
            decode_head={**HEAD, **(head or {})},
            data_preprocessor=dict(type='SegDataPreProcessor'),
            test_cfg=dict(mode='whole'),
        )
        return MODELS.build(ConfigDict({**model, **changes}))

    return build


@pytest.fixture
def batch():
    """``batch(classes, size)``: two images (B, 3, H, W) and samples with labels, of which some
    pixels are ignored."""

    def make(classes=2, size=(64, 64)):
        samples = []
        for i in range(2):
            labels = torch.randint(classes, (1, *size))
            labels[0, :2] = 255
            meta = dict(ori_shape=size, img_shape=size, pad_shape=size, img_path=f'{i}.png')
            samples.append(SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=meta))
        return torch.randn(2, 3, *size), samples

    return make
