"""Trans2Seg: parameters to the digit, shapes, the decoder's formulas, gradients, two rates."""

from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.models import ResNetV1c
from mmseg.structures import SegDataSample
from torch import nn

from mmsam_peft.apis.configs import read_config
from mmsam_peft.models.decode_heads import Trans2SegHead
from mmsam_peft.models.decode_heads.trans2seg_head import DecoderBlock

CONFIG = Path(__file__).parents[2] / 'configs/trans2seg/trans10k.py'
BN = dict(type='BN')


def test_parameters():
    with torch.device('meta'):
        head = Trans2SegHead(num_classes=12, norm_cfg=BN)
        encoder = ResNetV1c(depth=50, stem_channels=128, norm_cfg=BN)
    total = sum(p.numel() for part in (head, encoder) for p in part.parameters())
    assert total == 56_501_721 == 58_550_721 - (2048 * 1000 + 1000)
    bare = sum(p.numel() for p in (head.class_token, head.position, head.queries))
    assert round((total - bare) / 1e6, 3) == 56.236


@pytest.fixture
def head():
    torch.manual_seed(0)
    return Trans2SegHead(
        (64, 96), (8, 32), channels=8, embed_dims=16, num_heads=2, num_classes=3, norm_cfg=BN
    )


@pytest.fixture
def maps():
    sizes = ((8, 16, 24), (0, 8, 12), (0, 4, 6), (32, 4, 6))
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, *size, generator=generator) for size in sizes)


def test_shapes(head, maps):
    masks, x = head.masks(maps[3])
    assert masks.shape == (2, 3, 2, 4, 6) and x.shape == (2, 16, 4, 6)
    assert head(maps).shape == (2, 3, 16, 24)


def test_images_of_another_size_are_refused(head, maps):
    wrong = (*maps[:3], maps[3][..., :5])
    with pytest.raises(ValueError, match='64 x 96 .* a map of 4 x 6, and got a map of 4 x 5'):
        head(wrong)


@torch.no_grad()
def test_decoder_block():
    """Query by query and head by head."""
    torch.manual_seed(0)
    block = DecoderBlock(dim=6, num_heads=2, ratio=3, tokens=5).double()
    for p in block.parameters():
        p.normal_(std=0.5)
    query, x = torch.randn(1, 3, 6).double(), torch.randn(1, 5, 6).double()
    logits, new_query, new_x = block(query, x)
    q = block.norm_query(query)[0] @ block.q.weight.T
    k, v = (block.norm_map(x)[0] @ block.kv.weight.T).chunk(2, -1)
    for i in range(3):
        answer = []
        for head in range(2):
            part = slice(3 * head, 3 * head + 3)
            raw = torch.stack([(q[i, part] * k[j, part]).sum() / 3**0.5 for j in range(5)])
            torch.testing.assert_close(logits[0, i, head], raw)
            refined = 2 * raw + block.logits_mlp(block.norm_logits_mlp(2 * raw))
            torch.testing.assert_close(block.refine(logits)[0, i, head], refined)
            weights = raw.exp() / raw.exp().sum()
            answer.append(sum(weights[j] * v[j, part] for j in range(5)))
        answer = 2 * block.proj(torch.cat(answer))
        answer = answer + block.query_mlp(block.norm_query_mlp(answer))
        torch.testing.assert_close(new_query[0, i], answer)
    doubled = x + x
    torch.testing.assert_close(new_x, doubled + block.map_mlp(block.norm_map_mlp(doubled)))


def test_classes_differ_by_their_queries(head, maps):
    """All classes share the convolutional head: equal queries, equal masks."""
    head.eval()
    assert not head(maps)[:, 0].allclose(head(maps)[:, 1])
    head.queries.data[:, 1] = head.queries.data[:, 0]
    torch.testing.assert_close(head(maps)[:, 0], head(maps)[:, 1])


def test_a_step_trains_all_that_is_read(head, maps):
    labels = torch.randint(0, 3, (1, 64, 96), generator=torch.Generator().manual_seed(1))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=labels)) for _ in range(2)]
    head.loss(maps, samples, {})['loss_ce'].backward()
    unused = {name for name, p in head.named_parameters() if p.grad is None}
    queries = [f'decoder.3.{part}.' for part in ('proj', 'norm_query_mlp', 'query_mlp')]
    masks = [f'decoder.{i}.{part}.' for i in range(3) for part in ('norm_logits_mlp', 'logits_mlp')]
    names = [name for name, _ in head.named_parameters()]
    assert unused == {name for name in names if name.startswith((*queries, *masks))}
    before = {name: p.clone() for name, p in head.named_parameters()}
    torch.optim.Adam(head.parameters(), lr=1e-3).step()
    same = {name for name, p in head.named_parameters() if p.equal(before[name])}
    assert same == unused


def test_the_head_learns_ten_times_as_fast():
    model = nn.Module()
    model.backbone, model.decode_head = nn.Linear(1, 1), nn.Linear(1, 1)
    wrapper = build_optim_wrapper(model, read_config(CONFIG).optim_wrapper)
    rates = {id(g['params'][0]): g['lr'] for g in wrapper.optimizer.param_groups}
    assert rates[id(model.backbone.weight)] == pytest.approx(1e-4)
    assert rates[id(model.decode_head.weight)] == pytest.approx(1e-3)
    assert all(g['weight_decay'] == 1e-4 for g in wrapper.optimizer.param_groups)
