import math

import numpy as np
import pytest
import torch

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import count_parameters
from mmsam_peft.peft.sam_adapter import high_frequencies

ARCH = dict(
    embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)
HEAD = 3_505_536


def pixels(*size: int) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3))


def encoder(blocks='all', **settings) -> SAMViT:
    """On a 4 x 4 grid; nothing of the method is at its initial value."""
    torch.manual_seed(0)
    model = SAMViT(ARCH, img_size=64, peft=dict(type='SAMAdapter', blocks=blocks), **settings)
    for parameter in model.walk.parameters():
        parameter.data.normal_(std=0.3)
    return model


def loop_high_frequencies(image: np.ndarray, ratio: float) -> np.ndarray:
    """Every frequency on its own, on the centred spectrum."""
    B, channels, H, W = image.shape
    half = int(math.sqrt(H * W * ratio)) // 2
    result = np.empty(image.shape)
    for b in range(B):
        for c in range(channels):
            spectrum = np.fft.fftshift(np.fft.fft2(image[b, c]))
            for i in range(H):
                for j in range(W):
                    if H // 2 - half <= i < H // 2 + half and W // 2 - half <= j < W // 2 + half:
                        spectrum[i, j] = 0
            result[b, c] = abs(np.fft.ifft2(np.fft.ifftshift(spectrum)).real)
    return result


@pytest.mark.parametrize('size', [(8, 8), (12, 20), (9, 16), (16, 9), (11, 13), (4, 40)])
@pytest.mark.parametrize('ratio', [0.05, 0.25, 0.7])
def test_high_frequencies(size, ratio):
    image = pixels(*size)
    expected = loop_high_frequencies(image.double().numpy(), ratio)
    assert expected.max() > 0.1
    np.testing.assert_allclose(high_frequencies(image, ratio).numpy(), expected, atol=1e-5)


def test_flat_images_have_no_high_frequencies_and_checkerboards_nothing_else():
    assert high_frequencies(torch.full((1, 3, 32, 48), 2.5), 0.25).max() < 1e-5
    i, j = torch.meshgrid(torch.arange(32), torch.arange(48), indexing='ij')
    board = (1 - 2.0 * ((i + j) % 2)).expand(1, 3, -1, -1)
    torch.testing.assert_close(high_frequencies(board, 0.25), torch.ones(1, 3, 32, 48))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_precision(dtype):
    image = pixels(24, 40)
    expected = high_frequencies(image, 0.25)
    with torch.autocast('cpu', dtype):
        assert high_frequencies(image, 0.25).equal(expected)
    got = high_frequencies(image.to(dtype), 0.25)
    assert got.dtype == dtype
    torch.testing.assert_close(
        got, high_frequencies(image.to(dtype).float(), 0.25).to(dtype), rtol=0, atol=0
    )


@pytest.mark.parametrize('blocks, chosen', [('all', [0, 1, 2]), ('last:2', [1, 2]), ([0], [0])])
def test_formula(blocks, chosen):
    model = encoder(blocks, out_indices=(0, 1, 2)).double().eval()
    walk, image = model.walk, pixels(64, 64).double()
    assert [int(number) for number in walk.tune] == chosen
    with torch.no_grad():
        patches = model.patch_embed(image)
        hfc = torch.from_numpy(loop_high_frequencies(image.numpy(), 0.25))
        tiles = hfc.unfold(2, 16, 16).unfold(3, 16, 16)  # (B, 3, H, W, 16, 16)
        f = patches @ walk.patches.weight.T + walk.patches.bias
        f = (
            f
            + torch.einsum('bchwij,ocij->bhwo', tiles, walk.frequencies.weight)
            + walk.frequencies.bias
        )
        x, expected = patches + model.pos_embed, []
        for i, block in enumerate(model.blocks):
            if i in chosen:
                z = f @ walk.tune[str(i)].weight.T + walk.tune[str(i)].bias
                z = z * 0.5 * (1 + torch.erf(z / math.sqrt(2)))
                x = x + z @ walk.up.weight.T + walk.up.bias
            x = block(x)
            expected.append(x)
        for got, want in zip(model(image), expected, strict=True):
            torch.testing.assert_close(got.permute(0, 2, 3, 1), want, rtol=1e-10, atol=1e-10)


def test_no_gradient_before_the_first_prompt():
    model, starts = encoder('last:1').train(), []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, inputs: starts.append(inputs[0].requires_grad))
    model(pixels(64, 64))
    assert starts == [False, False, True]


@pytest.mark.parametrize('size', [(50, 100), (96, 64)])
def test_any_size_with_and_without_checkpointing(size):
    results = []
    for checkpointing in (False, True):
        model = encoder(checkpointing=checkpointing).train()
        y = model(pixels(*size))[0]
        assert y.shape[2:] == (math.ceil(size[0] / 16), math.ceil(size[1] / 16))
        y.square().mean().backward()
        results.append([y.detach(), *(p.grad for p in model.walk.parameters())])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


def test_published_size():
    with torch.device('meta'):
        trained, _ = count_parameters(SAMViT('huge', peft=dict(type='SAMAdapter')))
    assert trained == 475_040
    assert round((trained + HEAD) / 1e6, 2) == 3.98


def test_names_and_shapes():
    shapes = {
        name: tuple(p.shape) for name, p in encoder([0, 2]).named_parameters() if p.requires_grad
    }
    assert shapes == {
        'walk.patches.weight': (2, 32),
        'walk.patches.bias': (2,),
        'walk.frequencies.weight': (2, 3, 16, 16),
        'walk.frequencies.bias': (2,),
        'walk.tune.0.weight': (2, 2),
        'walk.tune.0.bias': (2,),
        'walk.tune.2.weight': (2, 2),
        'walk.tune.2.bias': (2,),
        'walk.up.weight': (32, 2),
        'walk.up.bias': (32,),
    }


def test_only_the_up_projection_starts_at_zero():
    walk = SAMViT(ARCH, img_size=64, peft=dict(type='SAMAdapter')).walk
    zero = {name for name, parameter in walk.named_parameters() if parameter.abs().max() == 0}
    assert zero == {'up.weight', 'up.bias'}


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(reduction=0), 'reduction=0: .* use 1 to 32'),
        (dict(reduction=33), 'reduction=33: .* use 1 to 32'),
        (dict(freq_ratio=0), 'freq_ratio=0: .* between 0 and 1'),
        (dict(freq_ratio=1.0), 'freq_ratio=1.0: .* between 0 and 1'),
        (dict(blocks=[3]), r'blocks=\[3\]: .* 3 blocks'),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        SAMViT(ARCH, img_size=64, peft=dict(type='SAMAdapter', **settings))
