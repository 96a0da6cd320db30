from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from tiny_encoders import TINY_SAM2
from torch import Tensor

from mmsam_peft.models.backbones import Hiera
from mmsam_peft.models.backbones.frozen_prefix import FrozenPrefix

ARCH = dict(
    embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=32
)
LATE = {  # what is trained -> how many blocks are frozen before it, and whether the neck is too
    'nothing': (dict(peft=dict(type='Frozen')), 3, True),
    'neck': (dict(peft=dict(type='Frozen'), unfreeze='neck.2'), 3, False),
    'last block': (dict(peft=dict(type='LoRA', blocks='last:1')), 2, False),
    'blocks 1 and 2': (dict(peft=dict(type='VPT', blocks=[1, 2])), 1, False),
    'a norm': (dict(peft=dict(type='Frozen'), unfreeze='blocks.2.norm2'), 2, False),
    'tasks': (
        dict(peft=dict(type='TALoRA', num_tasks=2, ranks=(2, 2, 2), dropout=0.0, blocks=[2])),
        2,
        False,
    ),
}
STAGES = dict(
    TINY_SAM2, stages=(1, 2, 1), windows=(8, 6, 3), global_attn_indexes=(2,), out_channels=16
)

STAGED = {  # of a Hiera, whose neck takes the maps after blocks 0, 2 and 3
    'stages: nothing': (dict(peft=dict(type='Frozen')), 4),
    'stages: neck': (dict(peft=dict(type='Frozen'), unfreeze='neck'), 4),
    'stages: last': (dict(peft=dict(type='LoRA', blocks='last:1')), 3),
    'stages: inside one': (dict(peft=dict(type='VPT', blocks=[2, 3])), 2),
    'stages: tasks': (
        dict(peft=dict(type='TALoRA', num_tasks=2, ranks=(2, 2, 2), dropout=0.0, blocks=[3])),
        3,
    ),
}


@pytest.fixture(params=[*LATE, *STAGED])
def late(request, encoder, randomise):
    """An encoder trained late, and what is expected of its prefix."""
    if request.param in STAGED:
        options, blocks = STAGED[request.param]
        return randomise(Hiera(STAGES, **options)), blocks, False
    options, blocks, whole = LATE[request.param]
    return randomise(encoder(arch=ARCH, **options)), blocks, whole


def test_the_rest_of_the_prefix_is_the_encoder(late):
    """Bit for bit where a single map goes on, gradients too; also for an image that is padded and
    is not of the trained size."""
    encoder, blocks, whole = late
    prefix = FrozenPrefix(encoder)
    assert (prefix.blocks, prefix.whole) == (blocks, whole)
    images, gradients = torch.randn(2, 3, 80, 50), []
    start = prefix(images)
    assert isinstance(start, Tensor) and not start.requires_grad
    found, expected = prefix.finish(start), encoder(images)
    exact = not isinstance(encoder, Hiera)  # whose maps are laid out anew
    close = torch.Tensor.equal if exact else partial(torch.allclose, rtol=1e-5, atol=1e-6)
    assert all(close(y, x) for y, x in zip(found, expected, strict=True))
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    if trained:
        gradients = [
            torch.autograd.grad(sum((y**3).sum() for y in maps), trained)
            for maps in (found, expected)
        ]
        assert all(close(a / b.norm(), b / b.norm()) for a, b in zip(*gradients, strict=True))


def test_its_state_is_all_it_depends_on(late):
    """Brute force: change one tensor after the other."""
    prefix, images = FrozenPrefix(late[0]), torch.randn(1, 3, 80, 80)
    before, matters = prefix(images), set()
    for name, parameter in late[0].named_parameters():
        value = parameter.data.clone()
        parameter.data += torch.randn_like(value)
        if not prefix(images).equal(before):
            matters.add(name)
        parameter.data.copy_(value)
    assert matters == prefix.state().keys()
    assert all(not late[0].get_parameter(name).requires_grad for name in matters)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(peft=None), 'Full trains pos_embed: the encoder has no frozen beginning'),
        (
            dict(peft=dict(type='LoRA')),
            r'LoRA trains blocks.0.attn.qkv.lora_A: .* Use peft type Frozen, or a method on late',
        ),
        (
            dict(peft=dict(type='Frozen'), unfreeze='patch_embed'),
            'Frozen trains patch_embed.proj.weight',
        ),
        (dict(peft=dict(type='FacT', rank=2, blocks=[2])), 'FacT trains fact.U'),
        (dict(peft=dict(type='LST')), 'LST follows all blocks beside the encoder'),
        (dict(peft=dict(type='SAMAdapter')), 'SAMAdapter follows all blocks'),
        (dict(peft=dict(type='VPT', deep=False, blocks=[1, 2])), 'VPT follows all blocks'),
        (dict(peft=dict(type='Frozen'), out_indices=(1,)), r'out_indices=\(1,\)'),
    ],
)
def test_encoders_without_a_frozen_beginning(encoder, options, message):
    with pytest.raises(ValueError, match=message):
        FrozenPrefix(encoder(arch=ARCH, **options))


def test_an_encoder_that_runs_its_blocks_itself():
    encoder = ImageEncoderViT(32, embed_dim=32, depth=2, num_heads=2)
    encoder.peft = None
    with pytest.raises(ValueError, match='ImageEncoderViT does not run its blocks one by one'):
        FrozenPrefix(encoder)
