"""SAM 2's encoder and decoder against Hugging Face's, on random weights copied key by key."""

import pytest
import torch
from tiny_encoders import TINY_SAM2 as ARCH
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
    Sam2VisionModel,
)

from mmsam_peft.models import SAMMaskHead
from mmsam_peft.models.backbones import Hiera
from mmsam_peft.models.backbones.hiera_keys import SAM2
from mmsam_peft.models.decode_heads import MSAMHead
from mmsam_peft.models.prompt_encoders import Prompts
from mmsam_peft.peft import count_parameters

HEAD = dict(in_channels=32, num_heads=2, mlp_dim=64, fine=True)


def theirs(size: int = 64) -> Sam2Model:
    torch.manual_seed(0)
    trunk = Sam2HieraDetConfig(
        hidden_size=16,
        window_positional_embedding_background_size=[3, 3],
        blocks_per_stage=[1, 2, 3, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 6, 3],
        global_attention_blocks=[4],
    )
    vision = Sam2VisionConfig(
        backbone_config=trunk,
        backbone_channel_list=[128, 64, 32, 16],
        fpn_hidden_size=32,
        backbone_feature_sizes=[[size // stride] * 2 for stride in (4, 8, 16)],
    )
    prompts = Sam2PromptEncoderConfig(hidden_size=32, image_size=size)
    decoder = Sam2MaskDecoderConfig(
        hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=256
    )
    model = Sam2Model(
        Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    )
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    positions = model.prompt_encoder.shared_embedding.positional_embedding
    model.shared_image_embedding.positional_embedding.data.copy_(positions)
    return model.eval()


@pytest.fixture(scope='module')
def model() -> Sam2Model:
    return theirs()


def encoder(state: dict, **settings) -> Hiera:
    ours = Hiera(ARCH, **settings)
    ours.load_sam(SAM2.own(state), 'theirs')
    return ours.eval()


def close(ours, theirs) -> bool:
    return all(
        (one - other).norm() <= 1e-5 * other.norm() for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize('attention', ['fused', 'eager'])
@pytest.mark.parametrize('size', [(64, 64), (96, 160)])
def test_the_encoder_is_theirs(model, attention, size):
    """Forward, and the gradients to the image and to every weight."""
    ours = encoder(model.state_dict(), attention=attention)
    images = [torch.randn(2, 3, *size, requires_grad=True) for _ in range(2)]
    images[1].data.copy_(images[0].data)
    model.zero_grad()
    maps = ours(images[0])
    expected = list(model.vision_encoder(images[1]).fpn_hidden_states)
    expected[-1] = expected[-1] + model.no_memory_embedding.view(-1, 1, 1)
    assert [tuple(x.shape[2:]) for x in maps] == [
        tuple(side // stride for side in size) for stride in (4, 8, 16)
    ]
    assert close(maps, expected)
    weights = [torch.randn_like(x) for x in maps]
    for found in (maps, expected):
        sum((x * w).sum() for x, w in zip(found, weights, strict=True)).backward()
    assert close([images[0].grad], [images[1].grad])
    gradients = SAM2.own(
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    )
    own = dict(ours.named_parameters())
    assert {f'image_encoder.{name}' for name in own} == gradients.keys()
    assert close(own_grads := [own[name[14:]].grad for name in gradients], gradients.values())
    assert all(gradient.abs().max() > 0 for gradient in own_grads)


@pytest.mark.parametrize('head', ['mask', 'multi-task'])
def test_the_decoder_is_theirs(model, head):
    """The answer of mask token 0 beside three others, and the gradients to the maps and weights."""
    state, decoder = SAM2.own(model.state_dict()), model.mask_decoder.train()
    maps, copies = (
        [torch.randn(2, 32, side, side, generator=seed, requires_grad=True) for side in (16, 8, 4)]
        for seed in (torch.Generator().manual_seed(0), torch.Generator().manual_seed(0))
    )
    model.zero_grad()
    if head == 'mask':
        ours = part = SAMMaskHead(num_classes=3, num_queries=4, **HEAD)
        ours.load_sam(state, 'theirs')
        found = ours.decode(maps)[1][:, :1]
    else:
        ours = MSAMHead(dict(depth=1), **HEAD)
        ours.load_sam(state, 'theirs')
        found, part = ours(dict(depth=maps))['depth'], ours.decoders['depth']
    expected = decoder(
        image_embeddings=copies[2],
        image_positional_embeddings=model.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=torch.zeros(2, 1, 0, 32),
        dense_prompt_embeddings=model.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1),
        multimask_output=False,
        high_resolution_features=[decoder.conv_s0(copies[0]), decoder.conv_s1(copies[1])],
    )[0][:, 0]
    assert close([found], [expected])
    weight = torch.randn_like(found)
    for one in (found, expected):
        (one * weight).sum().backward()
    assert close([x.grad for x in maps], [x.grad for x in copies])
    gradients = SAM2.own(
        {
            f'mask_decoder.{name}': p.grad
            for name, p in decoder.named_parameters()
            if p.grad is not None
        }
    )
    own = {
        f'mask_decoder.{name}': p.grad for name, p in part.named_parameters() if p.grad is not None
    }
    largest = max(gradient.norm() for gradient in gradients.values())
    assert own.keys() <= gradients.keys() and own.keys() >= {
        f'mask_decoder.{name}' for name, _ in part.named_parameters()
    } - {
        'mask_decoder.class_head.weight',
        'mask_decoder.class_head.bias',
        'mask_decoder.no_mask_embed.weight',
    }
    assert all((own[name] - gradients[name]).norm() <= 1e-5 * largest for name in own)


@torch.no_grad()
def test_prompts_are_theirs(model):
    """Two objects of an image by two clicks each: three masks of each, and their IoU."""
    maps = [torch.randn(1, 32, side, side) for side in (16, 8, 4)]
    head, decoder = SAMMaskHead(prompts=True, **HEAD).eval(), model.mask_decoder.train()
    head.load_sam(SAM2.own(model.state_dict()), 'theirs')
    points, labels = 64 * torch.rand(2, 2, 2), torch.tensor([[1, 0], [1, -1]])
    sparse, dense = model.prompt_encoder(points[None], labels[None], None, None)
    found = head.prompted(
        maps, Prompts(image=torch.zeros(2, dtype=torch.long), points=points, labels=labels), True
    )
    masks, iou, *_ = decoder(
        image_embeddings=maps[2],
        image_positional_embeddings=model.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        high_resolution_features=[decoder.conv_s0(maps[0]), decoder.conv_s1(maps[1])],
    )
    assert close(found, [masks[0], iou[0]])


PUBLISHED = {  # width, heads, blocks, global blocks, windows, background, parameters
    'tiny': (96, 1, [1, 2, 7, 2], [5, 7, 9], [8, 4, 14, 7], 7, 27_219_392),
    'small': (96, 1, [1, 2, 11, 2], [7, 10, 13], [8, 4, 14, 7], 7, 34_317_248),
    'base_plus': (112, 2, [2, 3, 16, 3], [12, 16, 20], [8, 4, 14, 7], 14, 69_107_072),
    'large': (144, 2, [2, 6, 36, 4], [23, 33, 43], [8, 4, 16, 8], 7, 212_703_536),
}


@pytest.mark.parametrize('arch', PUBLISHED)
def test_published_sizes(arch):
    width, heads, stages, everywhere, windows, background, parameters = PUBLISHED[arch]
    widths = [width * 2**stage for stage in range(4)]
    trunk = Sam2HieraDetConfig(
        hidden_size=width,
        blocks_per_stage=stages,
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[heads * 2**stage for stage in range(4)],
        window_size_per_stage=windows,
        global_attention_blocks=everywhere,
        window_positional_embedding_background_size=[background] * 2,
    )
    config = Sam2VisionConfig(backbone_config=trunk, backbone_channel_list=widths[::-1])
    with torch.device('meta'):
        ours, theirs = Hiera(arch), Sam2VisionModel(config)
    shapes = {name: x.shape for name, x in SAM2.own(theirs.state_dict()).items()}
    own = {f'image_encoder.{name}': x.shape for name, x in ours.state_dict().items()}
    assert own.pop('image_encoder.no_mem_embed') == (1, 1, 256) and own == shapes
    assert count_parameters(ours)[0] == parameters
    for block, layer in zip(ours.blocks, theirs.backbone.blocks, strict=True):
        assert block.window_size == layer.window_size
        assert block.attn.num_heads == layer.attn.num_attention_heads
        assert block.attn.pool == (layer.query_stride or [1])[0]
