"""Attention distances against the formula, written out, in every encoder that can be read."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from mmsam_peft.analysis.attention_distance import (
    attention_distances,
    distance_rows,
    plot_distances,
)
from mmsam_peft.layers.windows import window_partition
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.models.backbones.mae_vit import MAEViT

HOSTS = Path(__file__).parents[1] / 'peft/hosts'
ARCH = dict(
    embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=8
)
METHODS = [
    None,
    dict(type='LoRA'),
    dict(type='VPT', num_tokens=3),
    dict(type='LST'),
    dict(type='AdaptFormer'),
]


def host(name: str):
    spec = importlib.util.spec_from_file_location(name, HOSTS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(None)


def slow(block, x, extra=None):
    """Query by query: the mean distance of each head, with the logits of the definition. The last
    keys may be extra tokens, which have no position."""
    heads, side = block.attn.num_heads, block.window_size or x.shape[1]
    window, _ = window_partition(block.norm1(x), side)
    inside, _ = window_partition(torch.ones_like(x[..., :1]), side)
    sums, queries = np.zeros(heads), 0
    for maps, valid in zip(window, inside, strict=True):
        cells = [(i, j) for i in range(maps.shape[0]) for j in range(maps.shape[1])]
        q, k, _ = block.attn.qkv(maps).unflatten(-1, (3, heads, -1)).unbind(-3)
        more = None
        if extra is not None:
            more = block.attn.qkv(block.norm1(extra))[0].unflatten(-1, (3, heads, -1))[:, 1]
        for i, j in cells:
            if not valid[i, j]:
                continue
            queries += 1
            for h in range(heads):
                logits = [
                    q[i, j, h] @ k[a, b, h] * block.attn.scale
                    + q[i, j, h] @ block.attn.rel_pos_h[i - a + maps.shape[0] - 1]
                    + q[i, j, h] @ block.attn.rel_pos_w[j - b + maps.shape[1] - 1]
                    for a, b in cells
                ]
                weights = torch.stack(logits).exp()
                if more is not None:
                    others = (q[i, j, h] * more[:, h]).sum(-1) * block.attn.scale
                    weights = weights / (weights.sum() + others.exp().sum())
                seen = [
                    (16 * np.hypot(i - a, j - b), w.item())
                    for (a, b), w in zip(cells, weights, strict=True)
                    if valid[a, b]
                ]
                total = sum(w for _, w in seen)
                sums[h] += sum(distance * w for distance, w in seen) / total
    return sums / queries


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 3, 64, 64, generator=generator) for _ in range(2)]


@torch.no_grad()
@pytest.mark.parametrize('attention', ['fused', 'eager'])
def test_formula(randomise, images, attention):
    """A block with windows of 3 on a 4 x 4 map, which are padded, and a global one."""
    torch.manual_seed(0)
    encoder = randomise(SAMViT(ARCH, img_size=64, attention=attention))
    found = attention_distances(encoder, images)
    assert [reach.windowed for reach in found] == [True, False]
    expected = np.zeros((2, 2))
    for image in images:
        x = encoder.add_position(encoder.patch_embed(image))
        for number, block in enumerate(encoder.blocks):
            expected[number] += slow(block, x) / len(images)
            x = block(x)
    np.testing.assert_allclose([reach.heads for reach in found], expected, rtol=1e-4)
    before = encoder(images[0])[0]
    assert before.equal(encoder(images[0])[0]), 'no hook is left'


@torch.no_grad()
def test_a_class_token_takes_no_part(randomise, images):
    torch.manual_seed(0)
    encoder = randomise(MAEViT(16, 1, 2, 16, (64, 64)))
    found = attention_distances(encoder, images[:1])
    x = encoder.patch_embed(images[0]) + encoder.pos_embed
    expected = slow(encoder.blocks[0], x, encoder.cls_token)
    np.testing.assert_allclose(found[0].heads, expected, rtol=1e-4)


@torch.no_grad()
def test_alike_in_every_host(randomise, images):
    """The same weights in SAM's own program and in ours."""
    torch.manual_seed(0)
    theirs = randomise(host('segment_anything'))
    ours = host('encoder')
    ours.load_state_dict(theirs.state_dict())
    one, other = attention_distances(theirs, images), attention_distances(ours, images)
    for a, b in zip(one, other, strict=True):
        assert a.windowed == b.windowed
        np.testing.assert_allclose(a.heads, b.heads, rtol=1e-4)
    assert len(attention_distances(host('hugging_face'), images)) == 2


@pytest.mark.parametrize('peft', METHODS[1:], ids=lambda peft: peft['type'])
def test_of_tuned_encoders(images, peft):
    """At the start, where a method changes nothing, they look where the base looks."""
    torch.manual_seed(0)
    base = SAMViT(ARCH, img_size=64)
    tuned = SAMViT(ARCH, img_size=64, peft=peft)
    tuned.load_state_dict(base.state_dict(), strict=False)
    one, other = attention_distances(base, images), attention_distances(tuned, images)
    for a, b in zip(one, other, strict=True):
        if peft['type'] == 'VPT':  # its prompts are random and change what is looked at
            assert np.isfinite(b.heads).all() and (b.heads > 0).all()
        else:
            np.testing.assert_allclose(a.heads, b.heads, rtol=1e-4)


def test_every_task_of_an_encoder_with_branches(images):
    torch.manual_seed(0)
    base = SAMViT(ARCH, img_size=64)
    tuned = SAMViT(ARCH, img_size=64, peft=dict(type='TALoRA', num_tasks=3))
    tuned.load_state_dict(base.state_dict(), strict=False)
    one, other = attention_distances(base, images), attention_distances(tuned, images)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.heads, b.heads, rtol=1e-4)


@pytest.mark.parametrize(
    'name, words',
    [('tokens', "does not promise 'maps'"), ('stages', 'does not state its attention')],
)
def test_others_are_refused(images, name, words):
    with pytest.raises(ValueError, match=words):
        attention_distances(host(name), images)


def test_no_image():
    with pytest.raises(ValueError, match='there was no image'):
        attention_distances(SAMViT(ARCH, img_size=64), [])


def test_table_and_picture(tmp_path, images):
    reaches = {'a': attention_distances(SAMViT(ARCH, img_size=64), images)}
    rows = distance_rows(reaches)
    assert [row[:3] for row in rows[1:]] == [['a', '0', 'windows'], ['a', '1', 'global']]
    plot_distances(reaches, tmp_path / 'a.png')
    assert (tmp_path / 'a.png').stat().st_size > 1000
