"""MobileSAM's encoder against a plain one, written from its description under the names of the
published file; and what its batch norms must not do."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage

from mmsam_peft.adapters.file import read_header
from mmsam_peft.adapters.match import OtherBaseError, adapter_state, load_adapter, save_adapter
from mmsam_peft.apis.merging import merged_model, merged_sam_state, verify_merge
from mmsam_peft.layers.conv_norm import ConvNorm
from mmsam_peft.layers.table_attention import TableAttention
from mmsam_peft.models.backbones import SAMViT, TinyViT
from mmsam_peft.models.backbones.frozen_prefix import FrozenPrefix
from mmsam_peft.models.backbones.tiny_vit import ARCHS, KEYS
from mmsam_peft.peft import count_parameters

ARCH = dict(
    embed_dims=(8, 16, 24, 32),
    depths=(2, 1, 2, 1),
    num_heads=(2, 3, 4),
    window_sizes=(3, 2, 3),
    out_channels=32,
)


def published_shapes(embed_dims, depths, num_heads, window_sizes, out_channels=256) -> dict:
    """What the file of MobileSAM's authors holds of its encoder, classifier included."""
    shapes = {}

    def conv(name, inputs, outputs, kernel=1):
        shapes[f'{name}.c.weight'] = (outputs, inputs, kernel, kernel)
        for part in ('weight', 'bias', 'running_mean', 'running_var'):
            shapes[f'{name}.bn.{part}'] = (outputs,)
        shapes[f'{name}.bn.num_batches_tracked'] = ()

    def layer(name, *shape):
        shapes[f'{name}.weight'], shapes[f'{name}.bias'] = shape, shape[:1]

    first = embed_dims[0]
    conv('patch_embed.seq.0', 3, first // 2, 3)
    conv('patch_embed.seq.2', first // 2, first, 3)
    for stage, (dim, depth) in enumerate(zip(embed_dims, depths, strict=True)):
        for number in range(depth):
            name = f'layers.{stage}.blocks.{number}'
            if stage == 0:
                conv(f'{name}.conv1', dim, 4 * dim)
                conv(f'{name}.conv2', 1, 4 * dim, 3)
                conv(f'{name}.conv3', 4 * dim, dim)
                continue
            heads, window = num_heads[stage - 1], window_sizes[stage - 1]
            layer(f'{name}.attn.norm', dim)
            layer(f'{name}.attn.qkv', 3 * dim, dim)
            layer(f'{name}.attn.proj', dim, dim)
            shapes[f'{name}.attn.attention_biases'] = (heads, window**2)
            conv(f'{name}.local_conv', 1, dim, 3)
            layer(f'{name}.mlp.norm', dim)
            layer(f'{name}.mlp.fc1', 4 * dim, dim)
            layer(f'{name}.mlp.fc2', dim, 4 * dim)
        if stage < 3:
            conv(f'layers.{stage}.downsample.conv1', dim, embed_dims[stage + 1])
            conv(f'layers.{stage}.downsample.conv2', 1, embed_dims[stage + 1], 3)
            conv(f'layers.{stage}.downsample.conv3', embed_dims[stage + 1], embed_dims[stage + 1])
    last = embed_dims[-1]
    layer('norm_head', last)
    layer('head', 1000, last)
    shapes['neck.0.weight'], shapes['neck.2.weight'] = (
        (out_channels, last, 1, 1),
        (out_channels, out_channels, 3, 3),
    )
    layer('neck.1', out_channels)
    layer('neck.3', out_channels)
    return shapes


def published(seed: int = 0) -> dict[str, torch.Tensor]:
    """Such a file of the small encoder, of random values."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in published_shapes(**ARCH).items():
        if name.endswith('num_batches_tracked'):
            state[name] = torch.tensor(7)
        elif name.endswith('running_var'):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            state[name] = 0.3 * torch.randn(shape, generator=generator)
    return state


def plain(w: dict, x: torch.Tensor) -> torch.Tensor:
    """The network, window by window and head by head: images to the neck's map."""

    def conv(name, x, stride=1, groups=1):
        kernel = w[f'{name}.c.weight']
        y = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
        mean, var, weight, bias = (
            w[f'{name}.bn.{part}'][:, None, None]
            for part in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return (y - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def linear(name, x):
        return x @ w[f'{name}.weight'].T + w[f'{name}.bias']

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], w[f'{name}.weight'], w[f'{name}.bias'], 1e-5)

    def channel_norm(name, x):
        mean = x.mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt((x - mean).square().mean(1, keepdim=True) + 1e-6)
        return x * w[f'{name}.weight'][:, None, None] + w[f'{name}.bias'][:, None, None]

    def attention(name, window, heads):
        """(S, S, C) to the same."""
        side, channels = len(window), window.shape[-1] // heads
        x = linear(f'{name}.qkv', norm(f'{name}.norm', window).flatten(0, 1))
        cells = list(itertools.product(range(side), range(side)))
        answers = []
        for head in range(heads):
            own = x[:, 3 * channels * head : 3 * channels * (head + 1)]
            q, k, v = own.split(channels, 1)
            table = w[f'{name}.attention_biases'][head]
            bias = torch.stack(
                [
                    torch.stack([table[abs(a - c) * side + abs(b - d)] for c, d in cells])
                    for a, b in cells
                ]
            )
            answers.append((q @ k.T / channels**0.5 + bias).softmax(1) @ v)
        return linear(f'{name}.proj', torch.cat(answers, 1)).view_as(window)

    def block(name, x, heads, side):
        """(B, C, H, W) to the same."""
        B, C, H, W = x.shape
        padded = F.pad(x, (0, -W % side, 0, -H % side)).permute(0, 2, 3, 1)
        gain = torch.zeros_like(padded)
        for b, i, j in itertools.product(
            range(B), range(0, padded.shape[1], side), range(0, padded.shape[2], side)
        ):
            window = padded[b, i : i + side, j : j + side]
            gain[b, i : i + side, j : j + side] = attention(f'{name}.attn', window, heads)
        x = x + gain[:, :H, :W].permute(0, 3, 1, 2)
        x = conv(f'{name}.local_conv', x, groups=C).permute(0, 2, 3, 1)
        y = linear(f'{name}.mlp.fc1', norm(f'{name}.mlp.norm', x))
        return (x + linear(f'{name}.mlp.fc2', F.gelu(y))).permute(0, 3, 1, 2)

    H, W = x.shape[2:]
    x = F.pad(x, (0, -W % 16, 0, -H % 16))
    x = conv('patch_embed.seq.2', F.gelu(conv('patch_embed.seq.0', x, 2)), 2)
    for stage, depth in enumerate(ARCH['depths']):
        for number in range(depth):
            name = f'layers.{stage}.blocks.{number}'
            if stage:
                x = block(name, x, ARCH['num_heads'][stage - 1], ARCH['window_sizes'][stage - 1])
                continue
            y = F.gelu(conv(f'{name}.conv1', x))
            y = F.gelu(conv(f'{name}.conv2', y, groups=y.shape[1]))
            x = F.gelu(x + conv(f'{name}.conv3', y))
        if stage < 3:  # 4, 8, 16 and again 16 pixels
            name = f'layers.{stage}.downsample'
            x = F.gelu(conv(f'{name}.conv1', x))
            x = F.gelu(conv(f'{name}.conv2', x, 1 if stage == 2 else 2, groups=x.shape[1]))
            x = conv(f'{name}.conv3', x)
    x = channel_norm('neck.1', F.conv2d(x, w['neck.0.weight']))
    return channel_norm('neck.3', F.conv2d(x, w['neck.2.weight'], padding=1))


@pytest.fixture
def file(sam, tmp_path):
    """``file(seed)``: a file as MobileSAM's authors publish theirs."""

    def write(seed: int = 0) -> str:
        decoder = {
            key: value
            for key, value in sam().state_dict().items()
            if not key.startswith('image_encoder.')
        }
        encoder = {f'image_encoder.{key}': value for key, value in published(seed).items()}
        torch.save({**encoder, **decoder}, tmp_path / f'mobile_sam_{seed}.pt')
        return str(tmp_path / f'mobile_sam_{seed}.pt')

    return write


@pytest.fixture
def mobile(segmentor, file):
    """``mobile(method, seed, **settings)``: a whole model on such a file."""

    def build(method='LoRA', seed=0, head=None, unfreeze=(), **settings):
        backbone = dict(
            type='TinyViT',
            arch=dict(ARCH),
            img_size=64,
            peft=dict(type=method, **settings),
            unfreeze=unfreeze,
        )
        model = segmentor(backbone=backbone, head=head, checkpoint=file(seed))
        model.init_weights()
        torch.manual_seed(1)
        for name, parameter in model.backbone.named_parameters():
            if name in model.backbone.peft.trained_names:
                parameter.data += 0.1 * torch.randn_like(parameter)
        return model.eval()

    return build


def logits(model):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.encode_decode(images, [dict(img_shape=(64, 64))])


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize('size', [(64, 64), (50, 100)])
def test_equals_the_plain_network(file, relative, size, dtype, tolerance):
    ours = TinyViT(ARCH, img_size=64)
    ours.load_sam(ours.read_weights(file()), 'file')
    ours.to(dtype)
    theirs = {
        name: value.to(dtype).requires_grad_(not name.endswith(('_mean', '_var')))
        for name, value in published().items()
        if value.is_floating_point()
    }
    x = torch.randn(2, 3, *size, dtype=dtype).requires_grad_()
    expected, (y,) = plain(theirs, x), ours(x)
    assert y.shape == (2, 32, -(-size[0] // 16), -(-size[1] // 16))
    assert relative(y, expected) < tolerance
    named = dict(ours.named_parameters())
    names = [
        name.removeprefix('image_encoder.')
        for name in KEYS.authors({f'image_encoder.{name}': None for name in named})
    ]
    weight = torch.randn_like(expected)  # of the map, whose mean square a norm has fixed
    gradients = torch.autograd.grad((y * weight).sum(), [x, *named.values()])
    references = torch.autograd.grad((expected * weight).sum(), [x, *map(theirs.get, names)])
    for name, a, b in zip(['x', *names], gradients, references, strict=True):
        assert relative(a, b) < tolerance, name


def test_the_published_size():
    with torch.device('meta'):
        ours = TinyViT()
    expected = {
        f'image_encoder.{name}': torch.empty(shape, device='meta')
        for name, shape in published_shapes(**ARCHS['5m']).items()
    }
    found = {name: value.shape for name, value in KEYS.own(expected).items()}
    state = {f'image_encoder.{name}': value for name, value in ours.state_dict().items()}
    assert all(found[name] == value.shape for name, value in state.items())
    left = {name.split('.')[-1] for name in found.keys() - state.keys()}
    assert left == {'num_batches_tracked', 'weight', 'bias'}  # of norm_head and head
    assert KEYS.authors(state).keys() <= expected.keys()
    assert all(KEYS.encoder.fullmatch(name) for name in state)
    assert count_parameters(ours)[1] == 5_743_892


def test_a_file_loads_wholly_or_not_at_all(file, tmp_path):
    model, state = TinyViT(ARCH, img_size=64), torch.load(file())

    def reread(changed):
        torch.save(changed, tmp_path / 'changed.pt')
        model.load_sam(model.read_weights(str(tmp_path / 'changed.pt')), 'changed.pt')

    reread({f'module.{name}': value for name, value in state.items()})
    reread({name: value for name, value in state.items() if '.neck.' not in name})
    key = 'image_encoder.layers.0.downsample.conv2.bn.running_var'
    with pytest.raises(ValueError, match=r'lacks 1 of .* such as stages.0.0.between.conv2.bn.runn'):
        reread({name: value for name, value in state.items() if name != key})
    with pytest.raises(ValueError, match='another architecture: .*backbone.arch'):
        reread({**state, key: torch.zeros(99)})
    with pytest.raises(ValueError, match='1 tensors inside .* such as image_encoder.stages.0.0.at'):
        reread({**state, 'image_encoder.layers.1.blocks.0.attn.qkv.lora_A': torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="of MobileSAM, .*encoder='mobile_sam'"):
        SAMViT.read_weights(file())


@pytest.mark.parametrize('extra', [None, 'seen', 'attends too'])
def test_fused_equals_eager(randomise, extra):
    results = []
    layers = [TableAttention(12, 3, (3, 2), kind).double() for kind in ('fused', 'eager')]
    layers[1].load_state_dict(randomise(layers[0]).state_dict())
    x, tokens = torch.randn(4, 3, 2, 12).double(), torch.randn(2, 2, 12).double()
    for layer in layers:
        if extra == 'attends too':
            y = torch.cat([part.flatten() for part in layer.attend_both(x, tokens)])
        else:
            y = layer(x, tokens if extra else None).flatten()
        results.append([y, *torch.autograd.grad(y.pow(3).sum(), list(layer.parameters()))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_extra_tokens_have_no_distance(randomise):
    """They are seen as if they were further cells whose bias is zero."""
    layer = randomise(TableAttention(12, 3, (2, 2))).double()
    x, tokens = torch.randn(1, 2, 2, 12).double(), torch.randn(1, 3, 12).double()
    every = torch.cat([x.flatten(1, 2), tokens], 1)[0]
    q, k, v = layer.qkv(every).view(7, 3, 3, 4).permute(2, 1, 0, 3)
    bias = F.pad(layer.bias(), (0, 3, 0, 3))
    expected = layer.proj(((q @ k.mT / 2 + bias).softmax(-1) @ v).permute(1, 0, 2).flatten(1))
    cells, answers = layer.attend_both(x, tokens)
    torch.testing.assert_close(torch.cat([cells.flatten(0, 2), answers[0]]), expected)
    torch.testing.assert_close(layer(x, tokens).flatten(0, 2), expected[:4])


def test_one_convolution_equals_two(randomise):
    layer = randomise(ConvNorm(4, 6, 3, 2)).double()
    layer.bn.running_mean.normal_(), layer.bn.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 4, 7, 9).double().requires_grad_()
    results = []
    for y in (layer(x), layer.bn(layer.c(x))):
        results.append([y, *torch.autograd.grad(y.pow(3).sum(), [x, *layer.parameters()])])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('method', ['Full', 'LoRA'])
def test_the_map_of_an_image_does_not_depend_on_its_batch(mobile, method):
    encoder = mobile(method).backbone.train()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        together, apart = encoder(x)[0], torch.cat([encoder(one[None])[0] for one in x])
        torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
        assert encoder.eval()(x)[0].equal(together)


@pytest.mark.parametrize('method', ['Full', 'LoRA', 'NormTuning', 'ConvLoRA'])
def test_files_hold_no_statistics_and_know_them(mobile, tmp_path, method):
    """They are the base's: an adapter holds none, fits the base that has the same, and no other."""
    model, path = mobile(method), tmp_path / 'adapter.safetensors'
    assert not any('running' in name for name in adapter_state(model))
    steps = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
    save_adapter(model, path, config=dict(test_pipeline=steps))
    assert read_header(path)['recipe']['model']['backbone']['type'] == 'TinyViT'
    fresh = mobile(method)
    load_adapter(fresh, path)
    assert logits(fresh).equal(logits(model))
    for name in ('running_mean', 'running_var'):
        other = mobile(method)
        other.backbone.stages[1][0].between.conv2.bn.get_buffer(name)[0] += 0.1
        with pytest.raises(OtherBaseError, match='another base'):
            load_adapter(other, path)


def test_averages_keep_the_statistics(mobile):
    model = mobile('Full').train()
    average = ExponentialMovingAverage(model, momentum=0.5)
    optimizer = torch.optim.SGD(model.backbone.parameters(), lr=0.1)
    for _ in range(2):
        model.backbone(torch.randn(2, 3, 64, 64))[0].square().mean().backward()
        optimizer.step()
        average.update_parameters(model)
    base = mobile('Frozen').state_dict()
    for one in (model, average.module):
        state = one.state_dict()
        statistics = [name for name in state if 'running' in name]
        assert len(statistics) == 2 * 21
        assert all(state[name].equal(base[name]) for name in statistics)


@pytest.mark.parametrize('method', ['Full', 'LoRA', 'SSF'])
@pytest.mark.parametrize('based', [True, False])
def test_merging_gives_the_authors_file(mobile, relative, method, based):
    """Under their names and whole, with the statistics; also where no file was the base."""
    model = mobile(method)
    if not based:
        model.checkpoint = None
    state = merged_sam_state(model)
    assert verify_merge(model, state) < 1e-4
    names = {name for name in published() if not name.endswith('tracked') and 'head' not in name}
    assert names <= {name.removeprefix('image_encoder.') for name in state}
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        encoder = {name.removeprefix('image_encoder.'): value for name, value in state.items()}
        assert relative(plain(encoder, x), model.backbone(x)[0]) < 1e-5


def test_a_merged_model_predicts_the_same(mobile, relative):
    model = mobile('LoRA')
    model.cfg = Config(dict(model=dict(type='PEFTSegmentor', **model.made_of)))
    model.dataset_meta = None
    assert relative(logits(merged_model(model)), logits(model)) < 1e-5


LATE = {  # what is trained -> how many blocks are frozen before it, and whether the neck is too
    'nothing': (dict(method='Frozen'), 4, True),
    'last block': (dict(method='LoRA', blocks='last:1'), 3, False),
    'a convolution between stages': (
        dict(method='Frozen', unfreeze='stages.2.0.between'),
        3,
        False,
    ),
    'full, late': (dict(method='Full', blocks='last:2'), 2, False),
    'tasks': (dict(method='TaskLoRA', num_tasks=2, rank=2, blocks=[2, 3]), 2, False),
}


@pytest.mark.parametrize('late', LATE)
def test_a_frozen_beginning(mobile, late):
    """Stands alone, and depends on its state alone, statistics included."""
    options, blocks, whole = LATE[late]
    encoder = mobile(**options).backbone
    prefix, images = FrozenPrefix(encoder), torch.randn(1, 3, 20, 32)
    assert (prefix.blocks, prefix.whole) == (blocks, whole)
    start = prefix(images)
    torch.testing.assert_close(prefix.finish(start), encoder(images), rtol=1e-4, atol=1e-5)
    matters = set()
    for name, value in encoder.state_dict().items():
        before = value.clone()
        value += torch.rand_like(value)
        if not prefix(images).equal(start):
            matters.add(name)
        value.copy_(before)
    assert matters == prefix.state().keys()
    assert any('running_var' in name for name in matters)


@pytest.mark.parametrize('method', ['Full', 'LoRA', 'ConvLoRA', 'TALoRA'])
def test_activation_checkpointing_changes_nothing(method):
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = TinyViT(ARCH, 64, dict(type=method), checkpointing=checkpointing)
        for name, parameter in model.named_parameters():
            if name in model.peft.added:
                parameter.data += 0.01
        torch.manual_seed(1)
        model(torch.randn(1, 3, 64, 64))[0].pow(3).mean().backward()
        results.append([p.grad for p in model.parameters() if p.grad is not None])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_compiled_blocks_are_whole_and_the_same(relative):
    torch.compiler.reset()
    arch = dict(ARCH, depths=(1, 1, 1, 1))
    plain, fast = (
        TinyViT(arch, 64, dict(type='LoRA', blocks='last:2'), compile=options)
        for options in (False, dict(fullgraph=True, backend='aot_eager'))
    )
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    gradients = []
    for model in (plain, fast):
        torch.manual_seed(0)
        y = model(x)[0]
        y.pow(3).mean().backward()
        gradients.append([y, *(p.grad for p in model.parameters() if p.grad is not None)])
    assert all(relative(a, b) < 1e-4 for a, b in zip(*gradients, strict=True) if b.norm() > 1e-6)


def test_further_channels_start_without_effect(mobile):
    encoder = mobile('LoRA').backbone
    wide = TinyViT(ARCH, 64, dict(type='LoRA'), in_channels=5)
    wide.load_state_dict(encoder.state_dict(), strict=False)
    x = torch.randn(1, 5, 64, 64)
    y = wide(x)[0]
    torch.testing.assert_close(y, encoder(x[:, :3])[0])
    y.pow(3).mean().backward()
    assert wide.patch_embed.further.grad.abs().max() > 0


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(arch='11m'), "arch='11m' is unknown: use one of 5m"),
        (dict(arch=dict(ARCH, depths=(1, 1))), 'depths of all four stages'),
        (dict(arch=dict(ARCH, depth=3)), 'as a dict it needs embed_dims'),
        (dict(attention='flash'), "attention='flash' is unknown"),
        (dict(in_channels=1), 'in_channels=1: MobileSAM sees red, green and blue'),
        (dict(peft=dict(type='LST')), 'LST needs .*, which TinyViT does not have'),
        (
            dict(peft=dict(type='VPT', deep=False)),
            'Blocks 0 to 3 are 16, 24, 32 channels wide, and the method needs blocks of one',
        ),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TinyViT(**{'arch': dict(ARCH), **settings})
