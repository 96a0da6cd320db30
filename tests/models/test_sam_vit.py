import cv2
import numpy as np
import pytest
import segment_anything.build_sam as official
import torch
import torch.nn.functional as F

from mmsam_peft.layers import attention
from mmsam_peft.layers.windows import window_partition, window_unpartition
from mmsam_peft.models import SAMMaskHead, SAMViT
from mmsam_peft.models.backbones.checkpoints import resize_pos_embed
from mmsam_peft.peft import count_parameters


@pytest.fixture(params=['fused', 'eager'])
def outcome(request, golden):
    """``outcome(dtype)``: embedding, and gradients for the golden loss, through encoder and
    decoder."""
    state, arch, img_size, sizes = golden

    def run(dtype):
        encoder = SAMViT(arch, img_size, attention=request.param)
        head = SAMMaskHead(num_classes=3, num_queries=4, **sizes)
        encoder.load_sam(state, 'golden')
        head.load_sam(state, 'golden')
        (
            encoder.to(dtype),
            head.to(dtype).pe_layer.float(),
        )  # segment-anything's position encoding knows float32 only
        x = state['io.x'].to(dtype, copy=True).requires_grad_()
        (embedding,) = encoder(x)
        masks = head.decode([embedding])[1][
            :, :1
        ]  # SAM's single-mask output is token 0 of its four
        (masks.square().mean() + embedding.square().mean()).backward()
        return embedding, x.grad, encoder.blocks[0].attn.qkv.weight.grad

    return run


def test_golden_numbers(golden, outcome, relative):
    """The loss hardly depends on the input, as the neck ends in a normalisation: float64 shows the
    golden gradients themselves to carry rounding errors (up to 5e-4). Ours must be of that size;
    well-conditioned gradients are compared below."""
    state = golden[0]
    single, exact = outcome(torch.float32), outcome(torch.float64)
    assert relative(single[0], state['io.embedding']) < 1e-5
    for i, name in enumerate(('io.grad_x', 'io.grad_qkv0'), 1):
        rounding = relative(state[name], exact[i])
        assert rounding < 1e-3
        assert relative(single[i], exact[i]) < 3 * rounding


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize('window', [0, 3, 7])
def test_equals_segment_anything(sam, encoder, arch, relative, window, dtype, tolerance):
    theirs = sam(window_size=window).image_encoder.to(dtype)
    ours = encoder(arch={**arch, 'window_size': window}).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 80, 80, dtype=dtype).requires_grad_()
    expected = theirs(x)
    (y,) = ours(x)
    assert relative(y, expected) < tolerance
    ours_of, theirs_of = dict(ours.named_parameters()), dict(theirs.named_parameters())
    gradients = torch.autograd.grad((y**3).sum(), [x, *ours_of.values()])
    references = torch.autograd.grad(
        (expected**3).sum(), [x, *(theirs_of[name] for name in ours_of)]
    )
    assert all(relative(a, b) < tolerance for a, b in zip(gradients, references, strict=True))


@pytest.mark.parametrize(
    'arch, build, parameters',
    [
        ('base', official.build_sam_vit_b, 89_670_912),
        ('large', official.build_sam_vit_l, 308_278_272),
        ('huge', official.build_sam_vit_h, 637_026_048),
    ],
)
def test_variants_are_sams(arch, build, parameters):
    with torch.device('meta'):
        ours, theirs = SAMViT(arch), build().image_encoder
    shapes = [
        {key: value.shape for key, value in model.state_dict().items()} for model in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    assert count_parameters(ours) == (parameters, parameters)
    blocks = zip(ours.blocks, theirs.blocks, strict=True)
    assert all(
        (a.window_size, a.attn.num_heads) == (b.window_size, b.attn.num_heads) for a, b in blocks
    )


@pytest.mark.parametrize('device', attention.FORMS)
def test_fused_equals_eager_windowed_and_global(encoder, randomise, monkeypatch, device):
    monkeypatch.setitem(attention.FORMS, 'cpu', attention.FORMS[device])
    fused, eager = (encoder(attention=kind).double() for kind in ('fused', 'eager'))
    eager.load_state_dict(randomise(fused).state_dict())
    results = []
    for model in (fused, eager):
        (y,) = model(torch.ones(1, 3, 64, 112, dtype=torch.float64).cumsum(2).cumsum(3).sin())
        results.append([y, *torch.autograd.grad(y.pow(3).sum(), list(model.parameters()))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('size', [(1, 1), (33, 80), (79, 17)])
def test_odd_sizes_are_zero_padded(encoder, randomise, size):
    model = randomise(encoder())
    x = torch.randn(1, 3, *size)
    height, width = (16 * -(-side // 16) for side in size)
    (y,) = model(x)
    assert y.shape == (1, 32, height // 16, width // 16)
    assert torch.equal(y, model(F.pad(x, (0, width - size[1], 0, height - size[0])))[0])


@pytest.mark.parametrize('size', [(64, 128), (48, 32), (160, 80)])
def test_other_sizes_resize_the_tables(encoder, randomise, size):
    trained = randomise(encoder())
    other = encoder(img_size=size)
    other.load_sam(
        {f'image_encoder.{key}': value for key, value in trained.state_dict().items()}, 'trained'
    )
    assert other.pos_embed.shape[1:3] == (size[0] // 16, size[1] // 16)
    assert other.blocks[1].attn.rel_pos_w.shape[0] == 2 * size[1] // 16 - 1
    x = torch.randn(1, 3, *size)
    torch.testing.assert_close(other(x), trained(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size', [(10, 10), (7, 12)])
def test_position_embedding_resizes_bicubically(size):
    table = np.random.default_rng(0).random((5, 6, 4), np.float32)
    expected = cv2.resize(table, size[::-1], interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(
        resize_pos_embed(torch.from_numpy(table)[None], size)[0], expected, atol=1e-5
    )


def test_windows_are_slices_and_come_back():
    x = torch.randn(2, 5, 7, 4)
    windows, padded = window_partition(x, 3)
    assert padded == (6, 9) and windows.shape == (2 * 2 * 3, 3, 3, 4)
    assert torch.equal(windows[1], x[0, :3, 3:6])
    assert torch.equal(windows[6 + 5], F.pad(x[1, 3:, 6:], (0, 0, 0, 2, 0, 1)))
    assert torch.equal(window_unpartition(windows, padded, (5, 7)), x)


def test_out_indices_give_the_blocks_maps(encoder, arch):
    model = encoder(arch={**arch, 'depth': 4}, out_indices=(0, 2))
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda *args: seen.append(args[2]))
    maps = model(torch.randn(2, 3, 48, 80))
    assert len(model.blocks) == 3 and model.neck is None
    assert [m.shape for m in maps] == [(2, 32, 3, 5)] * 2
    assert torch.equal(maps[0], seen[0].permute(0, 3, 1, 2)) and torch.equal(
        maps[1], seen[2].permute(0, 3, 1, 2)
    )


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(arch='gigantic'), 'tiny, base, large, huge'),
        (
            dict(arch='tiny', checkpoint='published'),
            "no.* weights for an encoder of {'type': 'SAMViT', 'arch': 'tiny'}: .*sam_vit_b",
        ),
        (
            dict(checkpoint='published'),
            "weights for an encoder of .*'embed_dim': 32.* to None for random values",
        ),
        (dict(arch=dict(embed_dim=32, depth=2)), 'needs .*num_heads'),
        (
            dict(
                arch=dict(embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(), window_sise=7)
            ),
            'may have .*window_size',
        ),
        (dict(attention='flash'), 'fused, eager'),
        (dict(out_indices=(0, 2)), 'blocks 0 to 1'),
        (dict(peft=dict(type='Frozen'), unfreeze=('nek',)), "'nek' matches no parameter.*neck"),
        (dict(peft=dict(type='NoSuchMethod')), 'ConvLoRA.*LoRA'),
    ],
)
def test_wrong_settings(encoder, changes, message):
    with pytest.raises(ValueError, match=message):
        encoder(**changes)


def test_what_trains(encoder):
    assert count_parameters(encoder())[0] == count_parameters(encoder())[1]
    model = encoder(peft=dict(type='Frozen'), unfreeze=('neck', 'blocks.1.norm'))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {
        name for name, _ in model.named_parameters() if name.startswith(('neck.', 'blocks.1.norm'))
    }
