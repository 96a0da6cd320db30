"""SAM's three masks against SAM's own program; the channels of a multi-task model against its
predictions."""

from functools import partial

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from segment_anything.modeling.image_encoder import ImageEncoderViT
from segment_anything.modeling.mask_decoder import MaskDecoder
from segment_anything.modeling.prompt_encoder import PromptEncoder
from segment_anything.modeling.sam import Sam as TheirSam
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import nn

from mmsam_peft.analysis.mask_channels import Sam, channel_sheet, channels_of, read_sam
from mmsam_peft.apis.inference import inference_model
from mmsam_peft.registry import MODELS

ARCH = dict(
    embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=32
)


@pytest.fixture
def theirs(randomise):
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        64,
        embed_dim=32,
        depth=2,
        num_heads=2,
        global_attn_indexes=(1,),
        window_size=3,
        out_chans=32,
        use_rel_pos=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    decoder = MaskDecoder(
        transformer_dim=32, transformer=TwoWayTransformer(2, 32, 8, 64), iou_head_hidden_dim=16
    )
    return randomise(TheirSam(encoder, PromptEncoder(32, (4, 4), (64, 64), 16), decoder)).eval()


def test_masks(theirs):
    """Of an image that is not square, whose longer side is SAM's."""
    ours = Sam(theirs.state_dict(), 'a file', ARCH).eval()
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    masks, scores = ours.masks(image, (20, 30))
    theirs.mask_threshold = 0
    asked = dict(
        image=torch.from_numpy(image).permute(2, 0, 1).float(),
        original_size=(48, 64),
        point_coords=torch.tensor([[[20.0, 30.0]]]),
        point_labels=torch.ones(1, 1),
    )
    expected = theirs([asked], multimask_output=True)[0]
    assert masks.shape == (3, 48, 64) and (masks > 0).equal(expected['masks'][0])
    torch.testing.assert_close(scores, expected['iou_predictions'][0], rtol=1e-4, atol=1e-5)


def test_what_is_not_all_of_sam(theirs, tmp_path):
    state = theirs.image_encoder.state_dict()
    torch.save({f'image_encoder.{name}': v for name, v in state.items()}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='is not all of SAM'):
        read_sam(str(tmp_path / 'a.pth'))
    whole = theirs.state_dict()
    whole.pop('mask_decoder.output_hypernetworks_mlps.2.layers.0.bias')
    with pytest.raises(ValueError, match=r'lacks 1 of .*mlps\.2'):
        Sam(whole, 'a file', ARCH)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = dict(
        type='MultiTaskSegmentor',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=[128] * 3,
            std=[64] * 3,
            size=(64, 64),
            test_cfg=dict(size=(64, 64)),
        ),
        backbone=dict(type='SAMViT', arch=ARCH, img_size=64, peft=dict(type='TALoRA', num_tasks=2)),
        decode_head=dict(type='MSAMHead', in_channels=32, num_heads=2, mlp_dim=32),
        tasks=[
            dict(type='SemanticSegmentation', name='seg', num_classes=12),
            dict(type='Depth', name='depth'),
        ],
        test_cfg=dict(mode='whole'),
    )
    pipeline = [
        dict(type='LoadImageOrArray'),
        dict(type='MultiTaskResize', size=64),
        dict(type='PackMultiTaskInputs'),
    ]
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        model = MODELS.build(config).eval()
        model.cfg = Config(dict(test_pipeline=pipeline))
        yield model


def test_channels(model, tmp_path, randomise):
    randomise(model)
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / 'a.png')
    channels = channels_of(model, tmp_path / 'a.png')
    assert {task: maps.shape for task, maps in channels.items()} == {
        'seg': (12, 48, 64),
        'depth': (1, 48, 64),
    }
    predicted = inference_model(model, tmp_path / 'a.png').pred_seg.data[0].numpy()
    assert (channels['seg'].argmax(0) == predicted).all()
    picture = channel_sheet(image, channels, (20, 30), torch.randn(3, 48, 64), torch.rand(3))
    assert picture.ndim == 3 and picture.shape[1] > 8 * 150
    alone = channel_sheet(image, {'depth': channels['depth']})
    assert alone.shape[0] < picture.shape[0] and alone.shape[1] < picture.shape[1]


def test_a_model_of_one_task(build):
    with pytest.raises(ValueError, match='PEFTSegmentor has one task'):
        channels_of(build(), 'a.png')
