"""Encoders as a command line names them."""

import pytest
import torch

from mmsam_peft.analysis.encoders import load_encoder
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.models.backbones.mae_vit import MAEViT


def test_config_and_adapter(ready):
    config, adapter = ready
    tuned = load_encoder(f'LoRA={config},{adapter}', device='cpu')
    start = load_encoder(f'start={config}', device='cpu')
    assert (tuned.name, tuned.size, tuple(tuned.mean)) == ('LoRA', (64, 64), (128, 128, 128))
    image = torch.randn(1, 3, 64, 64)
    assert not tuned.module(image)[0].allclose(start.module(image)[0])
    assert not any(p.requires_grad for p in tuned.module.parameters())


def test_bare_weights(tmp_path):
    torch.manual_seed(0)
    sam = SAMViT('tiny', img_size=64)
    torch.save(
        {f'image_encoder.{key}': value for key, value in sam.state_dict().items()},
        tmp_path / 'sam.pth',
    )
    found = load_encoder(f'a={tmp_path}/sam.pth', device='cpu')
    assert found.size == (64, 64) and type(found.module) is SAMViT
    torch.testing.assert_close(found.module.pos_embed, sam.pos_embed, check_stride=False)
    mae = MAEViT(192, 1, 3, 16, (32, 32)).state_dict()
    state = {
        name.replace('mlp.lin', 'mlp.fc'): value
        for name, value in mae.items()
        if 'rel_pos' not in name
    }
    state['pos_embed'] = torch.zeros(1, 5, 192)
    torch.save({'model': state}, tmp_path / 'mae.pth')
    found = load_encoder(f'b={tmp_path}/mae.pth', image_size=48, mean=(1, 2, 3), device='cpu')
    assert type(found.module) is MAEViT and (found.size, found.mean) == ((48, 48), (1, 2, 3))


@pytest.mark.parametrize('text', ['weights.pth', '=weights.pth', 'name='])
def test_notation(text):
    with pytest.raises(ValueError, match='expected NAME=CONFIG'):
        load_encoder(text)


def test_no_such_file():
    with pytest.raises(FileNotFoundError, match='no file nowhere.pth'):
        load_encoder('a=nowhere.pth')


def test_unknown_size(tmp_path):
    arch = dict(
        embed_dim=16, depth=1, num_heads=2, global_attn_indexes=(0,), window_size=2, out_channels=8
    )
    state = SAMViT(arch, img_size=32).state_dict()
    torch.save({f'image_encoder.{key}': value for key, value in state.items()}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'no encoder of a known size .*\(16, 1\)'):
        load_encoder(f'a={tmp_path}/a.pth')
