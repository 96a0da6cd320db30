"""MAE's encoder against a plain vision transformer that is written out, from a file in MAE's
layout."""

import pytest
import torch
import torch.nn.functional as F

from mmsam_peft.models.backbones.mae_vit import MAEViT, is_mae, read_mae

WIDTH, DEPTH, HEADS, PATCH, SIDE = 192, 2, 3, 16, 4


def published(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights by the names and shapes of mae_pretrain_vit_*.pth."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        'cls_token': (1, 1, WIDTH),
        'pos_embed': (1, 1 + SIDE**2, WIDTH),
        'patch_embed.proj.weight': (WIDTH, 3, PATCH, PATCH),
        'patch_embed.proj.bias': (WIDTH,),
        'norm.weight': (WIDTH,),
        'norm.bias': (WIDTH,),
    }
    for i in range(DEPTH):
        for name, rows, columns in (
            ('attn.qkv', 3 * WIDTH, WIDTH),
            ('attn.proj', WIDTH, WIDTH),
            ('mlp.fc1', 4 * WIDTH, WIDTH),
            ('mlp.fc2', WIDTH, 4 * WIDTH),
        ):
            shapes[f'blocks.{i}.{name}.weight'] = (rows, columns)
            shapes[f'blocks.{i}.{name}.bias'] = (rows,)
        for name in ('norm1', 'norm2'):
            shapes |= {f'blocks.{i}.{name}.{part}': (WIDTH,) for part in ('weight', 'bias')}
    return {
        name: 0.05 * torch.randn(shape, generator=generator)
        + (1.0 if name.endswith('weight') and 'norm' in name else 0.0)
        for name, shape in shapes.items()
    }


def plain(state, images):
    """Tokens after the last norm, (B, 1 + N, C), the class token first."""

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), state[f'{name}.weight'], state[f'{name}.bias'], 1e-6)

    def linear(x, name):
        return F.linear(x, state[f'{name}.weight'], state[f'{name}.bias'])

    proj = state['patch_embed.proj.weight'], state['patch_embed.proj.bias']
    x = F.conv2d(images, *proj, stride=PATCH).flatten(2).mT + state['pos_embed'][:, 1:]
    token = state['cls_token'] + state['pos_embed'][:, :1]
    x = torch.cat([token.expand(len(x), -1, -1), x], 1)
    for i in range(DEPTH):
        y = linear(norm(x, f'blocks.{i}.norm1'), f'blocks.{i}.attn.qkv')
        q, k, v = y.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        y = (q @ k.mT / (WIDTH // HEADS) ** 0.5).softmax(-1) @ v
        x = x + linear(y.transpose(1, 2).flatten(2), f'blocks.{i}.attn.proj')
        y = F.gelu(linear(norm(x, f'blocks.{i}.norm2'), f'blocks.{i}.mlp.fc1'))
        x = x + linear(y, f'blocks.{i}.mlp.fc2')
    return norm(x, 'norm')


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_from_a_file(tmp_path, images, relative):
    """The published files hold the state under 'model'; those of a whole training the decoder
    too."""
    state = published()
    decoder = {'decoder_embed.weight': torch.zeros(3), 'mask_token': torch.zeros(1, 1, 4)}
    torch.save({'model': state | decoder}, tmp_path / 'mae.pth')
    model = read_mae(str(tmp_path / 'mae.pth'))
    assert isinstance(model, MAEViT) and model.img_size == (64, 64)
    found, token = model(images)
    expected = plain(state, images)
    assert relative(token, expected[:, 0]) < 1e-5
    assert relative(found.flatten(1, 2), expected[:, 1:]) < 1e-5


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda state: state.pop('blocks.1.mlp.fc2.bias'), 'blocks.1.mlp.lin2.bias is missing'),
        (lambda state: state.pop('cls_token'), "is not of MAE's layout"),
        (lambda state: state.update({'blocks.0.ls1.gamma': torch.ones(3)}), 'blocks.0.ls1.gamma'),
        (lambda state: state.update({'pos_embed': torch.zeros(1, 8, WIDTH)}), 'has 8 rows'),
        (lambda state: state.update({'cls_token': torch.zeros(1, 1, 200)}), 'width 200'),
    ],
)
def test_other_files_are_refused(tmp_path, change, words):
    state = published()
    change(state)
    torch.save(state, tmp_path / 'mae.pth')
    with pytest.raises(ValueError, match=words):
        read_mae(str(tmp_path / 'mae.pth'))


def test_which_layout():
    assert is_mae(published()) and not is_mae({'image_encoder.pos_embed': 0, 'cls_token': 0})
