import math
import weakref

import pytest
import torch

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import count_parameters

ARCH = dict(
    embed_dim=160, depth=3, num_heads=4, global_attn_indexes=(1,), window_size=3, out_channels=16
)
HEAD = 3_505_536
PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def encoder(peft: dict | None, **settings) -> SAMViT:
    """On a 4 x 4 grid; nothing of the method is at its initial value."""
    torch.manual_seed(0)
    model = SAMViT(ARCH, img_size=64, peft=peft, **settings)
    for name, parameter in model.named_parameters():
        if name.startswith('walk.') or 'lora' in name:
            parameter.data.normal_(std=0.2)
    return model


def ladder(**settings) -> SAMViT:
    return encoder(dict(type='LST'), **settings)


def test_published_size():
    with torch.device('meta'):
        trained, _ = count_parameters(SAMViT('huge', peft=dict(type='LST')))
    assert trained == 7_988_000
    assert round((trained + HEAD) / 1e6, 2) == 11.49


def test_size_formula():
    """D of each rung and of the start, U, and the parts of a block, with the position tables of its
    encoder's block."""
    C, w, hidden = 160, 16, 4  # two heads of 8 channels
    block = (3 * w * w + 3 * w) + (w * w + w) + 4 * w + (w * hidden + hidden) + (hidden * w + w)
    tables = 2 * 8 * (2 * 3 - 1) * 2 + 2 * 8 * (2 * 4 - 1)  # two windows of 3, one grid of 4
    assert count_parameters(ladder())[0] == 4 * C * w + w * C + 3 * (block + 1) + tables


def test_initial_values():
    walk = SAMViT(ARCH, img_size=64, peft=dict(type='LST')).walk
    assert walk.up.weight.abs().max() == 0 and walk.up.bias is None
    assert all(
        rung.alpha.abs().max() == 0 and rung.down.weight.abs().max() > 0
        for rung in walk.rungs.values()
    )


@pytest.mark.parametrize('blocks, chosen', [('all', [0, 1, 2]), ('last:2', [1, 2]), ([0], [0])])
def test_formula(blocks, chosen):
    model = encoder(dict(type='LST', blocks=blocks), out_indices=(0, 1, 2)).double().eval()
    walk, image = model.walk, PIXELS.double()
    assert [int(number) for number in walk.rungs] == chosen
    with torch.no_grad():
        maps = [model.patch_embed(image) + model.pos_embed]
        for block in model.blocks:
            maps.append(block(maps[-1]))
        h = maps[chosen[0]] @ walk.start.weight.T
        for i in chosen:
            rung = walk.rungs[str(i)]
            mu = 1 / (1 + math.exp(-rung.alpha.item() / 0.1))
            assert 0.01 < abs(mu - 0.5)
            h = rung.block(mu * maps[i + 1] @ rung.down.weight.T + (1 - mu) * h)
        expected = [*maps[1:3], maps[3] + h @ walk.up.weight.T]
        assert (expected[2] - maps[3]).abs().max() > 0.1
        for got, want in zip(model(image), expected, strict=True):
            torch.testing.assert_close(got.permute(0, 2, 3, 1), want, rtol=1e-10, atol=1e-10)


def test_the_neck_sees_the_ladder():
    model = ladder().eval()
    with torch.no_grad():
        before = model(PIXELS)[0]
        model.walk.up.weight.zero_()
        assert not before.allclose(model(PIXELS)[0], atol=0.01)


def test_side_blocks_follow_the_encoders():
    model = SAMViT(ARCH, img_size=64, peft=dict(type='LST'), attention='eager', checkpointing=True)
    for block, rung in zip(model.blocks, model.walk.rungs.values(), strict=True):
        assert rung.block.window_size == block.window_size and rung.block.checkpointing
        assert rung.block.attn.attention == 'eager' and rung.block.attn.num_heads == 2


@pytest.mark.parametrize('size', [(64, 64), (50, 100)])
def test_attention_and_checkpointing_change_nothing(size):
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    results = []
    for settings in ({}, dict(attention='eager'), dict(checkpointing=True)):
        model = ladder(**settings).train()
        y = model(image)[0]
        assert y.shape[2:] == (math.ceil(size[0] / 16), math.ceil(size[1] / 16))
        y.square().mean().backward()
        results.append([y.detach(), *(p.grad for p in model.walk.parameters())])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-4, atol=1e-6)


class Box:
    """What autograd holds in place of a tensor; it dies with the graph that needs it."""

    def __init__(self, tensor: torch.Tensor, inside: bool) -> None:
        self.tensor, self.inside = tensor, inside


class Kept:
    """A forward pass of ``model``, and the bytes that autograd keeps of it for the backward pass:
    all, and those saved inside the encoder's blocks. Weights are not counted."""

    def __init__(self, model: SAMViT) -> None:
        self.grads, boxes, depth = [], weakref.WeakSet(), []

        def pack(tensor: torch.Tensor) -> Box:
            boxes.add(box := Box(tensor, bool(depth)))
            return box

        def leave(_, __, output: torch.Tensor) -> None:
            depth.pop()
            self.grads.append(output.requires_grad)

        for block in model.blocks:
            block.register_forward_pre_hook(lambda *_: depth.append(1))
            block.register_forward_hook(leave)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
            self.output = model.train()(PIXELS)[0]
        weights = {parameter.data_ptr() for parameter in model.parameters()}
        storages = [(box.tensor.untyped_storage(), box.inside) for box in boxes]
        sizes = {
            (s.data_ptr(), inside): s.nbytes()
            for s, inside in storages
            if s.data_ptr() not in weights
        }
        self.all = sum({address: size for (address, _), size in sizes.items()}.values())
        self.inside = sum(size for (_, inside), size in sizes.items() if inside)


@pytest.mark.parametrize('unfreeze', [(), ('neck',)])
@pytest.mark.parametrize('checkpointing', [False, True])
def test_autograd_keeps_nothing_of_the_encoder(unfreeze, checkpointing):
    model = ladder(unfreeze=unfreeze, checkpointing=checkpointing)
    kept = Kept(model)
    assert kept.grads == [False] * 3 and kept.inside == 0 < kept.all
    kept.output.sum().backward()
    with_gradient = {
        name for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    assert with_gradient == {
        n for n, p in model.named_parameters() if n.startswith('walk.') or n.startswith(unfreeze)
    }


def test_memory_beside_other_methods():
    nbytes = {}
    for method in ('LST', 'LoRA', 'Full'):
        kept = Kept(encoder(dict(type=method)))
        nbytes[method] = kept.all
        if method != 'LST':
            assert kept.grads == [True] * 3 and kept.inside > 0.5 * nbytes[method]
    assert nbytes['LST'] < 0.4 * nbytes['LoRA'] < 0.4 * nbytes['Full']


def test_unfrozen_blocks_are_trained():
    model = ladder(unfreeze=['blocks.1.mlp'])
    assert Kept(model).grads == [False, True, True]
    model(PIXELS)[0].sum().backward()
    assert model.blocks[1].mlp.lin1.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(reduction=0), 'reduction=0: .* use 1 or more'),
        (dict(mlp_ratio=0.01), r'mlp_ratio=0.01: .* width 16, .* use 0.0625 or more'),
        (dict(blocks='last:4'), "blocks='last:4': .* 3 blocks"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        encoder(dict(type='LST', **settings))


@pytest.mark.parametrize('reduction, width', [(1, 160), (5, 32), (10, 16), (12, 8), (400, 8)])
def test_width_is_a_multiple_of_8(reduction, width):
    assert encoder(dict(type='LST', reduction=reduction)).walk.up.in_features == width
