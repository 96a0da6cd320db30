import copy
import pickle

import pytest
import torch

from mmsam_peft.layers import attention
from mmsam_peft.layers.attention import resize_rel_pos
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import count_parameters

HEAD = 3_505_536
ARCH = dict(
    embed_dim=16, depth=5, num_heads=2, global_attn_indexes=(1, 3), window_size=3, out_channels=8
)
IMAGE = (64, 80)  # a map of 4 x 5, which the windows of 3 do not divide
CASES = [(deep, blocks) for deep in (True, False) for blocks in ('all', 'last:2', [1, 3], [2])]


def encoder(deep: bool, blocks='all', **settings) -> SAMViT:
    """Windowed and global blocks in turn; no parameter is left at its initial value."""
    torch.manual_seed(0)
    model = SAMViT(
        ARCH,
        img_size=IMAGE,
        peft=dict(type='VPT', num_tokens=2, deep=deep, blocks=blocks),
        **settings,
    ).double()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


def images(size: tuple[int, int] = IMAGE) -> torch.Tensor:
    return torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def prompts_of(model: SAMViT) -> dict[str, torch.Tensor]:
    return {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def attend(attn, tokens, places, size):
    """Attention of tokens (N, C) over each other, with the matrix of position terms written out;
    place None: a prompt."""
    q, k, v = attn.qkv(tokens).view(len(tokens), 3, attn.num_heads, -1).unbind(1)
    rows, columns = (
        resize_rel_pos(table, 2 * n - 1)
        for table, n in zip((attn.rel_pos_h, attn.rel_pos_w), size, strict=True)
    )
    heads = []
    for h in range(attn.num_heads):
        bias = torch.zeros(len(tokens), len(tokens), dtype=tokens.dtype)
        for a, place in enumerate(places):
            for b, other in enumerate(places):
                if place and other:
                    bias[a, b] = q[a, h] @ (
                        rows[place[0] - other[0] + size[0] - 1]
                        + columns[place[1] - other[1] + size[1] - 1]
                    )
        heads.append((q[:, h] @ k[:, h].T / q.shape[-1] ** 0.5 + bias).softmax(-1) @ v[:, h])
    return attn.proj(torch.cat(heads, -1))


def plain_block(block, prompts, image):
    """One image, the full sequence: prompts (P, C) and the map (H, W, C) through norms, attention
    and MLP alike."""
    P, (H, W, C) = len(prompts), image.shape
    normed_prompts, normed = block.norm1(prompts), block.norm1(image)
    window = block.window_size
    sides = (window, window) if window else (H, W)
    gain, prompt_gains = torch.zeros_like(image), []
    for top in range(0, H, sides[0]):
        for left in range(0, W, sides[1]):
            places = [(top + i, left + j) for i in range(sides[0]) for j in range(sides[1])]
            cells = [
                normed[i, j] if i < H and j < W else torch.zeros(C, dtype=image.dtype)
                for i, j in places
            ]
            out = attend(
                block.attn,
                torch.cat([normed_prompts, torch.stack(cells)]),
                [None] * P + places,
                sides,
            )
            prompt_gains.append(out[:P])
            for (i, j), row in zip(places, out[P:], strict=True):
                if i < H and j < W:
                    gain[i, j] = row
    prompts, image = prompts + sum(prompt_gains) / len(prompt_gains), image + gain
    return prompts + block.mlp(block.norm2(prompts)), image + block.mlp(block.norm2(image))


def plain_maps(model, numbers, batch):
    """The map after each block, image by image. Between the first and the last of ``numbers``
    shallow prompts are there."""
    maps = []
    for image in model.add_position(model.patch_embed(batch)):
        maps.append([])
        prompts = none = torch.zeros(0, ARCH['embed_dim'], dtype=image.dtype)
        for number, block in enumerate(model.blocks):
            if model.peft.deep:
                prompts = block.vpt_prompts if number in numbers else none
            elif number == min(numbers):
                prompts = model.walk.vpt_prompts
            prompts, image = plain_block(block, prompts, image)
            if not model.peft.deep and number == max(numbers):
                prompts = none
            maps[-1].append(image)
    return [torch.stack(level) for level in zip(*maps, strict=True)]


@pytest.mark.parametrize(
    'kind, size', [('eager', IMAGE), ('bias', IMAGE), ('concat', IMAGE), ('bias', (112, 48))]
)
@pytest.mark.parametrize(
    'deep, blocks, numbers',
    [
        (True, 'all', range(5)),
        (True, [0, 3], [0, 3]),
        (False, 'all', range(5)),
        (False, [1, 3], [1, 3]),
        (False, [2], [2]),
    ],
)
def test_is_the_plain_sequence(monkeypatch, kind, size, deep, blocks, numbers):
    if kind in ('bias', 'concat'):
        monkeypatch.setitem(
            attention.FORMS, 'cpu', lambda q, k: getattr(attention, f'{kind}_attention')
        )
    model = encoder(deep, blocks, attention='eager' if kind == 'eager' else 'fused')
    with torch.no_grad():
        got, expected = (
            list(model.walk(model, images(size))),
            plain_maps(model, numbers, images(size)),
        )
    assert len(got) == 5
    for ours, plain in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


def gradients(model: SAMViT) -> list[torch.Tensor]:
    y = model(images())[0]
    return [y, *torch.autograd.grad(y.pow(3).sum(), list(prompts_of(model).values()))]


@pytest.mark.parametrize('deep, blocks', CASES)
def test_checkpointing_and_eager_change_nothing(deep, blocks):
    expected = gradients(encoder(deep, blocks))
    assert all(gradient.abs().max() > 0 for gradient in expected[1:])
    for settings in (dict(checkpointing=True), dict(attention='eager')):
        for got, wanted in zip(gradients(encoder(deep, blocks, **settings)), expected, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('deep', [True, False])
def test_checkpointing_keeps_less(deep):
    kept = {}
    for checkpointing in (False, True):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: (sizes.append(t.numel()), t)[1], lambda t: t
        ):
            encoder(deep, checkpointing=checkpointing)(images())
        kept[checkpointing] = sum(sizes)
    assert kept[True] < kept[False] / 5


@pytest.mark.parametrize('deep, blocks', CASES)
def test_nothing_is_kept_before_the_first_prompts(deep, blocks):
    model, saved, seen = encoder(deep, blocks), [], {}
    for number, block in enumerate(model.blocks):
        block.register_forward_pre_hook(
            lambda _, args, number=number: seen.update(
                {number: (len(saved), args[0].requires_grad)}
            )
        )
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
        assert model(images())[0].requires_grad
    first = {'all': 0, 'last:2': 3}.get(blocks) if isinstance(blocks, str) else blocks[0]
    assert all(seen[number] == (0, False) for number in range(first + 1))
    assert all(kept and graph for number, (kept, graph) in seen.items() if number > first)


@pytest.mark.parametrize('deep, expected', [(True, [1, 1, 1, 1, 1]), (False, [1, 2, 2, 1, 1])])
def test_dropped_outputs_are_not_computed(deep, expected):
    model, calls = encoder(deep, [1, 2, 3]), [0] * 5
    for number, block in enumerate(model.blocks):
        block.mlp.register_forward_pre_hook(
            lambda _, args, number=number: calls.__setitem__(number, calls[number] + 1)
        )
    model(images())
    assert calls == expected


@pytest.mark.parametrize(
    'deep, blocks, expected',
    [
        (True, 'all', [f'blocks.{i}.vpt_prompts' for i in range(5)]),
        (True, [2], ['blocks.2.vpt_prompts']),
        (True, 'last:2', ['blocks.3.vpt_prompts', 'blocks.4.vpt_prompts']),
        (False, 'all', ['walk.vpt_prompts']),
        (False, 'last:2', ['walk.vpt_prompts']),
    ],
)
def test_trained_parameters(deep, blocks, expected):
    assert {
        name: p.shape for name, p in prompts_of(encoder(deep, blocks)).items()
    } == dict.fromkeys(expected, (2, 16))


@pytest.mark.parametrize(
    'clone',
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=['deepcopy', 'pickle'],
)
def test_shallow_copies(clone):
    model = encoder(False)
    with torch.no_grad():
        twin, expected = clone(model), model(images())[0]
        assert twin(images())[0].equal(expected)
        twin.walk.vpt_prompts.zero_()
        assert model(images())[0].equal(expected) and not twin(images())[0].allclose(expected)


@pytest.mark.parametrize('deep', [True, False])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_low_precision(deep, dtype):
    model = encoder(deep).float()
    with torch.no_grad():
        expected = model(images().float())[0]
    with torch.autocast('cpu', dtype):
        y = model(images().float())[0]
        assert all(
            g.isfinite().all()
            for g in torch.autograd.grad(y.square().mean(), list(prompts_of(model).values()))
        )
    with torch.no_grad():
        low = model.to(dtype)(images().to(dtype))[0]
    assert low.dtype == dtype
    for got in (y.detach(), low):
        assert (got - expected).norm() / expected.norm() < 0.05


@pytest.mark.parametrize('deep, prompts', [(True, 12 * 32 * 1280), (False, 12 * 1280)])
def test_count_at_vit_h(deep, prompts):
    with torch.device('meta'):
        model = SAMViT('huge', peft=dict(type='VPT', deep=deep))
    assert count_parameters(model)[0] == prompts
    assert not deep or prompts + HEAD == 3_997_056  # published: 4.00 M


@pytest.mark.parametrize('deep', [True, False])
def test_initial_values(deep):
    torch.manual_seed(0)
    model = SAMViT(ARCH, img_size=IMAGE, peft=dict(type='VPT', num_tokens=100, deep=deep))
    bound = (6 / (3 * 16**2 + 16)) ** 0.5
    for prompts in prompts_of(model).values():
        assert -bound <= prompts.min() < -0.99 * bound and 0.99 * bound < prompts.max() <= bound
        assert prompts.std().sub(bound / 3**0.5).abs() < 0.05 * bound


@pytest.mark.parametrize('num_tokens', [0, -1])
def test_fewer_than_one_prompt(num_tokens):
    with pytest.raises(
        ValueError,
        match=f'num_tokens={num_tokens}: .* at least 1 prompt; to train none use peft type Frozen',
    ):
        SAMViT(ARCH, img_size=IMAGE, peft=dict(type='VPT', num_tokens=num_tokens))


def test_blocks_that_are_not_there():
    with pytest.raises(ValueError, match=r'blocks=\[5\]: .* there are 5 blocks'):
        encoder(True, [5])
