import pytest
import torch
from torch import Tensor, nn

from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.peft import apply_peft, build_method, count_parameters
from mmsam_peft.peft.dora import DoRALinear
from mmsam_peft.peft.lora import LoRALinear
from mmsam_peft.peft.qkv import QKVParts

ARCH = dict(
    embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=16
)


def layer(
    dtype: torch.dtype = torch.float32, parts: tuple[int, ...] | None = None, bias: bool = True
) -> DoRALinear:
    """As after some training: B and m are not where they start."""
    torch.manual_seed(0)
    made = DoRALinear(nn.Linear(8, 12, bias, dtype=dtype), 2, 8, parts and QKVParts(parts))
    made.lora_B.data.normal_()
    made.lora_magnitude.data.uniform_(0.5, 2)
    return made


def dense(made: DoRALinear) -> tuple[Tensor, Tensor]:
    """W' and ||V|| in float64, row by row."""
    weight, A, B, m = (
        p.detach().double() for p in (made.weight, made.lora_A, made.lora_B, made.lora_magnitude)
    )
    rows = (
        range(12)
        if made.qkv_parts is None
        else [4 * part + i for part in made.qkv_parts.chosen for i in range(4)]
    )
    result, norms = weight.clone(), []
    for i, row in enumerate(rows):
        v = weight[row] + 8 / 2 * sum(B[i, r] * A[r] for r in range(2))
        norms.append(v.square().sum().sqrt())
        result[row] = m[i] / norms[-1] * v
    return result, torch.stack(norms)


def encoder(seed: int = 0, **settings) -> SAMViT:
    torch.manual_seed(seed)
    return SAMViT(ARCH, img_size=64, peft=dict(type='DoRA', **settings))


def sam(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {
        f'image_encoder.{key}': value
        for key, value in SAMViT(ARCH, img_size=64).state_dict().items()
    }


def run(model: SAMViT) -> Tensor:
    with torch.no_grad():
        return model.eval()(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))[
            0
        ]


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('parts', [None, (1,), (0, 2)])
def test_formula(parts, bias):
    made = layer(parts=parts, bias=bias)
    weight, norms = dense(made)
    torch.testing.assert_close(made.norms().double(), norms, rtol=1e-5, atol=0)
    x = torch.randn(3, 4, 8)
    expected = x.double() @ weight.T + (made.bias.double() if bias else 0)
    torch.testing.assert_close(made(x).double(), expected, rtol=1e-5, atol=1e-5)
    made.merge()
    torch.testing.assert_close(made.weight.double(), weight, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made(x).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_merging_low_precision_weights(dtype):
    made = layer(dtype)
    weight, before = dense(made)[0], made.weight.clone()
    made.merge()
    torch.testing.assert_close(made.weight.double(), weight, rtol=0.02, atol=0.02)
    assert made.weight.dtype == dtype
    made.unmerge()
    assert made.weight.equal(before)


def test_rows_without_a_magnitude_are_the_base_rows():
    made = layer(parts=(1,))
    assert made.lora_magnitude.shape == (4,) and made.lora_B.shape == (4, 2)
    x = torch.randn(5, 8)
    base = nn.functional.linear(x, made.weight, made.bias)
    others = [0, 1, 2, 3, 8, 9, 10, 11]
    assert made(x)[:, others].equal(base[:, others]) and not made(x)[:, 4:8].allclose(base[:, 4:8])
    before = made.weight.clone()
    made.merge()
    assert made.weight[others].equal(before[others]) and not made.weight[4:8].allclose(before[4:8])


def test_norms_of_a_large_layer_whose_update_matters():
    torch.manual_seed(0)
    made = DoRALinear(nn.Linear(1280, 3840), 3, 32)
    for std in (1e-4, 1e-2, 1.0):
        made.lora_B.data.normal_(std=std)
        V = made.weight.double() + 32 / 3 * made.lora_B.double() @ made.lora_A.double()
        torch.testing.assert_close(made.norms().double(), V.norm(dim=1), rtol=1e-5, atol=0)


def test_norms_are_float32_under_autocast():
    made = layer()
    expected = made.excess()
    with torch.autocast('cpu', torch.bfloat16):
        assert made.excess().equal(expected)
        assert made(torch.randn(3, 8)).dtype == torch.bfloat16


def test_norms_of_low_precision_weights():
    made = layer(torch.bfloat16)
    assert made.norms().equal(dense(made)[1].bfloat16())


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_rows_of_zeros(dtype):
    """Where base rows are zero, m is not 0 / 0."""
    torch.manual_seed(0)
    base = nn.Linear(8, 12, dtype=dtype)
    base.weight.data[2:4] = 0
    made, x = DoRALinear(base, 2, 8), torch.randn(3, 8, dtype=dtype)
    assert made(x).equal(nn.functional.linear(x, base.weight, base.bias))
    for _ in range(2):
        made.zero_grad()
        made(x).square().sum().backward()
        for parameter in (made.lora_A, made.lora_B, made.lora_magnitude):
            assert parameter.grad.isfinite().all()
            parameter.data -= 0.01 * parameter.grad
        assert made(x).isfinite().all()


def test_an_update_that_cancels_the_row_gives_no_nan():
    made = layer()
    made.lora_A.data = made.weight.data[:2].clone()
    made.lora_B.data[:2] = -torch.eye(2) / made.scale
    assert made.norms().isfinite().all() and made(torch.randn(3, 8)).isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('parts', [None, (0, 2)])
def test_starts_as_the_base_layer(parts, dtype):
    base = nn.Linear(48, 96, dtype=dtype)
    made, x = DoRALinear(base, 2, 8, parts and QKVParts(parts)), torch.randn(5, 48, dtype=dtype)
    assert made.lora_magnitude.dtype == dtype
    assert made.excess().abs().max() == 0
    assert made(x).equal(nn.functional.linear(x, base.weight, base.bias))


@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_agrees_with_hugging_face(dtype, tolerance):
    from peft.tuners.lora import Linear, LoraConfig

    made = layer(dtype)
    config = LoraConfig(r=2, lora_alpha=8, use_dora=True, lora_dropout=0.0)
    base = nn.Linear(8, 12, dtype=dtype)
    base.load_state_dict(dict(weight=made.weight, bias=made.bias))
    theirs = Linear(base, 'default', config, r=2, lora_alpha=8)
    pairs = [
        (made.lora_A, theirs.lora_A['default'].weight),
        (made.lora_B, theirs.lora_B['default'].weight),
        (made.lora_magnitude, theirs.lora_magnitude_vector['default'].weight),
    ]
    for ours, other in pairs:
        other.data = ours.detach().clone()
    x = torch.randn(3, 4, 8, dtype=dtype)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [module(value) for module, value in zip((made, theirs), inputs, strict=True)]
    torch.testing.assert_close(*outputs, rtol=tolerance, atol=tolerance)
    for output in outputs:
        output.square().sum().backward()
    for ours, other in [*pairs, inputs]:
        torch.testing.assert_close(ours.grad, other.grad, rtol=tolerance, atol=tolerance)


def test_gradients_take_the_norm_for_a_constant():
    made, x = layer(torch.float64), torch.randn(3, 8, dtype=torch.float64)
    made(x).square().sum().backward()
    A, B, m = (
        p.detach().clone().requires_grad_() for p in (made.lora_A, made.lora_B, made.lora_magnitude)
    )
    weight = (m / dense(made)[1])[:, None] * (made.weight.detach() + made.scale * B @ A)
    (x @ weight.T + made.bias.detach()).square().sum().backward()
    for ours, other in ((made.lora_A, A), (made.lora_B, B), (made.lora_magnitude, m)):
        torch.testing.assert_close(ours.grad, other.grad)


@pytest.mark.parametrize('targets', [('qkv',), ('q', 'v')])
def test_base_weights_load_alike_before_and_after_injection(targets):
    before = SAMViT(ARCH, img_size=64)
    before.load_sam(sam(7), 'test')
    plain = run(before)
    torch.manual_seed(0)
    method = build_method(dict(type='DoRA', targets=targets))
    apply_peft(before, method)
    after = encoder(targets=targets)
    stale = after.blocks[0].attn.qkv.lora_magnitude.clone()
    after.load_sam(sam(7), 'test')
    assert run(before).equal(plain) and run(after).equal(plain)
    for one, other in zip(before.blocks, after.blocks, strict=True):
        assert one.attn.qkv.lora_magnitude.equal(other.attn.qkv.lora_magnitude)
    assert not after.blocks[0].attn.qkv.lora_magnitude.allclose(stale)
    assert after.blocks[0].attn.qkv.lora_magnitude.requires_grad


@pytest.mark.parametrize('frozen_too', [True, False], ids=['checkpoint', 'adapter'])
def test_a_magnitude_in_the_file_is_kept(frozen_too):
    source, model = encoder(1), encoder(2)
    for block in source.blocks:
        block.attn.qkv.lora_B.data.normal_()
        block.attn.qkv.lora_magnitude.data.uniform_(0.5, 2)
    base = {
        f'image_encoder.{key}': value
        for key, value in source.state_dict().items()
        if key not in source.peft.added
    }
    model.load_sam(base, 'test')
    model.load_state_dict(
        {
            key: value
            for key, value in source.state_dict().items()
            if frozen_too or key in source.peft.added
        },
        strict=False,
    )
    for one, other in zip(model.blocks, source.blocks, strict=True):
        assert one.attn.qkv.lora_magnitude.equal(other.attn.qkv.lora_magnitude)
    assert run(model).equal(run(source))


def test_a_state_dict_of_lora_gives_that_lora():
    torch.manual_seed(1)
    lora, made = LoRALinear(nn.Linear(8, 12), 2, 8), layer()
    lora.lora_B.data.normal_()
    made.load_state_dict(lora.state_dict(), strict=False)
    x = torch.randn(3, 8)
    assert made(x).equal(lora(x))


def test_without_a_weight_the_magnitude_stays():
    made = layer()
    before = made.lora_magnitude.clone()
    made.load_state_dict(dict(lora_B=torch.ones(12, 2)), strict=False)
    assert made.lora_magnitude.equal(before)


def test_blocks_targets_and_what_is_trained():
    model = encoder(targets=('v', 'lin1'), rank=2, blocks='last:1')
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    assert shapes == {
        'blocks.1.attn.qkv.lora_A': (2, 32),
        'blocks.1.attn.qkv.lora_B': (32, 2),
        'blocks.1.attn.qkv.lora_magnitude': (32,),
        'blocks.1.mlp.lin1.lora_A': (2, 32),
        'blocks.1.mlp.lin1.lora_B': (128, 2),
        'blocks.1.mlp.lin1.lora_magnitude': (128,),
    }


def test_rank_below_one():
    with pytest.raises(ValueError, match='rank=0: .* at least rank 1'):
        encoder(rank=0)


def test_size():
    with torch.device('meta'):
        model = SAMViT('huge', peft=dict(type='DoRA'))
    assert count_parameters(model)[0] == 32 * (3 * (1280 + 3840) + 3840) == 614_400
