import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mmsam_peft.models.backbones.sam_keys import to_sam_keys
from mmsam_peft.models.decode_heads import MSAMHead, SAMMaskHead
from mmsam_peft.peft import count_parameters
from mmsam_peft.safe_load import load_safetensors

GOLDEN = Path(__file__).parents[1] / 'data/msam_decoder_5ch.safetensors'
SIZES = dict(in_channels=32, num_heads=2, mlp_dim=64)
CHANNELS = dict(seg=5, depth=1, normals=3)


def test_golden_masks(relative):
    state, sizes = load_safetensors(GOLDEN)
    head = MSAMHead(CHANNELS, **SIZES)
    encoding = head.pe_layer.positional_encoding_gaussian_matrix  # the file has its result instead
    head.load_sam(
        {
            **state,
            'prompt_encoder.no_mask_embed.weight': state['no_mask_embed'][:1],
            'prompt_encoder.pe_layer.positional_encoding_gaussian_matrix': encoding,
        },
        'golden',
    )
    head.no_mask_embed.weight.data.copy_(state['no_mask_embed'])
    head.pe_layer.forward = lambda size: state['dense_pe'][0]
    got = head(dict(seg=[state['io.embedding']]))
    assert sizes['task'] == '0' and got.keys() == {'seg'}
    assert relative(got['seg'].transpose(0, 1), state['io.mask_first_task']) < 1e-5


def test_every_channel_is_its_own_pass(randomise):
    """Of every image, whatever stands beside it in the batch."""
    head = randomise(MSAMHead(CHANNELS, **SIZES))
    features = {name: [torch.randn(3, 32, 4, 6)] for name in CHANNELS}
    outputs, row = head(features), 0
    for name, channels in CHANNELS.items():
        assert outputs[name].shape == (3, channels, 16, 24)
        for channel in range(channels):
            prompt = head.no_mask_embed.weight[row, :, None, None]
            for i, x in enumerate(features[name][0]):
                single = head.decoders[name].decode_map((x + prompt)[None], head.pe_layer((4, 6)))[
                    1
                ][:, 0]
                torch.testing.assert_close(
                    outputs[name][i, channel], single[0], rtol=1e-4, atol=1e-5
                )
            row += 1


def test_parameters_of_the_paper():
    """15,521,996 for ViT-L on NYUv2 = adapters 3,244,320 + norms 98,304 + rows 4,352 + three
    decoders of 4,058,340, of which ours leave out the IoU head (132,612) and three hypernetwork
    MLPs (139,808 each)."""
    head = MSAMHead(dict(seg=13, depth=1, normals=3))
    assert head.no_mask_embed.weight.numel() == 4_352
    assert {count_parameters(decoder)[0] for decoder in head.decoders.values()} == {
        4_058_340 - 132_612 - 3 * 139_808
    }
    assert count_parameters(head)[0] == 4_352 + 3 * 3_506_304


def test_starts_as_sam_with_equal_channels(sam):
    state = to_sam_keys(sam().state_dict())
    head, single = MSAMHead(CHANNELS, **SIZES), SAMMaskHead(num_classes=3, num_queries=4, **SIZES)
    head.load_sam(state, 'sam')
    single.load_sam(state, 'sam')
    x = torch.randn(2, 32, 5, 5)
    for output in head(dict.fromkeys(CHANNELS, [x])).values():
        expected = single.decode([x])[1][:, :1].expand_as(output)
        torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    logits = head(dict(seg=[x]))['seg']
    assert F.cross_entropy(logits, torch.randint(5, (2, 20, 20))).item() == pytest.approx(
        math.log(5), abs=1e-4
    )


def test_broken_symmetry(sam):
    head = MSAMHead(CHANNELS, break_symmetry=True, **SIZES)
    head.load_sam(to_sam_keys(sam().state_dict()), 'sam')
    seg, depth, normals = head.no_mask_embed.weight.split(list(CHANNELS.values()))
    assert torch.pdist(seg).min() > 0 and torch.pdist(normals).min() > 0
    assert seg[0].equal(depth[0]) and seg[0].equal(normals[0])


def test_everything_trains(randomise):
    head = randomise(MSAMHead(CHANNELS, **SIZES))
    outputs = head({name: [torch.randn(1, 32, 4, 4)] for name in CHANNELS})
    sum(output.square().mean() for output in outputs.values()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_file_without_decoder(sam):
    encoder = {
        key: value
        for key, value in to_sam_keys(sam().state_dict()).items()
        if key.startswith('image_encoder.')
    }
    head = MSAMHead(CHANNELS, **SIZES)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    head.load_sam(encoder, 'vit.pth')
    assert all(value.equal(before[key]) for key, value in head.state_dict().items())


@pytest.mark.parametrize('name', ['type', 'values', 'training'])
def test_names_that_modules_have_for_something_else(name):
    with pytest.raises(
        ValueError, match=f"A task is named '{name}', which PyTorch uses itself .* rename it"
    ):
        MSAMHead({'seg': 5, name: 1}, **SIZES)
