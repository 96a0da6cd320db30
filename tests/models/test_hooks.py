import pytest
import torch
from tiny_encoders import TINY_SAM, TINY_SAM2, TINY_SAM3, TINY_VIT

from mmsam_peft.layers.attention import MapAttention
from mmsam_peft.models.backbones import Hiera, SAMViT, TinyViT
from mmsam_peft.models.backbones.sam3_vit import SAM3ViT


@pytest.mark.parametrize(
    'kind, arch, peft',
    [
        (SAMViT, TINY_SAM, 'Frozen'),
        (SAMViT, TINY_SAM, 'VPT'),
        (SAMViT, TINY_SAM, 'TaskLoRA'),
        (Hiera, TINY_SAM2, 'Frozen'),
        (SAM3ViT, TINY_SAM3, 'Frozen'),
        (TinyViT, TINY_VIT, 'Frozen'),
    ],
)
def test_hooks_of_attention_see_whole_windows(randomise, kind, arch, peft):
    """Also where windows are not filled, whose padding is otherwise left out."""
    peft = dict(type=peft, num_tasks=2) if peft == 'TaskLoRA' else dict(type=peft)
    encoder = randomise(kind(arch, img_size=64, peft=peft)).eval()
    image, seen = torch.randn(2, 3, 64, 80), []
    expected = encoder(image)
    attentions = [layer for layer in encoder.modules() if isinstance(layer, MapAttention)]
    for attention in attentions:
        attention.register_forward_hook(lambda layer, *_: seen.append(layer))
    for got, map_ in zip(encoder(image), expected, strict=True):
        torch.testing.assert_close(got, map_, rtol=1e-4, atol=1e-5)
    assert seen == attentions


def test_backward_hooks_alone(randomise):
    encoder, seen = randomise(SAMViT(TINY_SAM, img_size=64)), []
    for attention in (block.attn for block in encoder.blocks):
        attention.register_full_backward_hook(lambda layer, *_: seen.append(layer))
    encoder(torch.randn(1, 3, 64, 80, requires_grad=True))[0].sum().backward()
    assert seen == [block.attn for block in encoder.blocks][::-1]
