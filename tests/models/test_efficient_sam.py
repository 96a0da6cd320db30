"""EfficientSAM's image encoder against an independent one, written after its authors'."""

import io
import zipfile

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmsam_peft.apis.merging import merged_sam_state, verify_merge
from mmsam_peft.models import SAMViT
from mmsam_peft.models.backbones.efficient_sam import EFFICIENT_SAM, EfficientSAMViT
from mmsam_peft.peft import count_parameters

ARCH = dict(embed_dim=32, depth=2, num_heads=2, learnt_size=3, out_channels=16)


class Reference(nn.Module):
    """Tokens, one product for all queries and keys, names of EfficientSAM's program."""

    def __init__(self, dim: int = 32, out: int = 16) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict(dict(proj=nn.Conv2d(3, dim, 16, 16)))
        self.pos_embed = nn.Parameter(torch.randn(1, 10, dim))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                dict(
                    norm1=nn.LayerNorm(dim, eps=1e-6),
                    attn=nn.ModuleDict(dict(qkv=nn.Linear(dim, 3 * dim), proj=nn.Linear(dim, dim))),
                    norm2=nn.LayerNorm(dim, eps=1e-6),
                    mlp=nn.ModuleDict(
                        dict(fc1=nn.Linear(dim, 4 * dim), fc2=nn.Linear(4 * dim, dim))
                    ),
                )
            )
            for _ in range(2)
        )
        self.neck = nn.ModuleList(
            [
                nn.Conv2d(dim, out, 1, bias=False),
                nn.GroupNorm(1, out),  # for its weight and bias alone
                nn.Conv2d(out, out, 3, padding=1, bias=False),
                nn.GroupNorm(1, out),
            ]
        )

    def forward(self, x):
        x = self.patch_embed['proj'](x)
        size = x.shape[2:]
        table = self.pos_embed[:, 1:].mT.unflatten(2, (3, 3))
        x = (x + F.interpolate(table, size, mode='bicubic')).flatten(2).mT
        for block in self.blocks:
            q, k, v = block['attn']['qkv'](block['norm1'](x)).chunk(3, -1)
            heads = []
            for q1, k1, v1 in zip(q.chunk(2, -1), k.chunk(2, -1), v.chunk(2, -1), strict=True):
                heads.append((q1 @ k1.mT / q1.shape[-1] ** 0.5).softmax(-1) @ v1)
            x = x + block['attn']['proj'](torch.cat(heads, -1))
            x = x + block['mlp']['fc2'](F.gelu(block['mlp']['fc1'](block['norm2'](x))))
        x = x.mT.unflatten(2, size)
        for conv, norm in (self.neck[:2], self.neck[2:]):
            x = conv(x)
            x = F.layer_norm(x.movedim(1, -1), x.shape[1:2], norm.weight, norm.bias, 1e-6)
            x = x.movedim(-1, 1)
        return x


def official(model):
    """A file as EfficientSAM's authors publish it, with a mask decoder of other layers."""
    state = {f'image_encoder.{name}': value for name, value in model.state_dict().items()}
    state['mask_decoder.mask_tokens.weight'] = torch.ones(4, 16)
    state['mask_decoder.final_output_upscaling_layers.0.0.weight'] = torch.ones(16, 4, 2, 2)
    state['prompt_encoder.invalid_points.weight'] = torch.ones(1, 16)
    return state


@pytest.mark.parametrize('size', [(48, 48), (64, 80)])
def test_equals_an_independent_encoder(randomise, relative, size):
    theirs, ours = randomise(Reference()), EfficientSAMViT(ARCH, img_size=64)
    ours.load_sam(EFFICIENT_SAM.own(official(theirs)), 'theirs')
    x = torch.randn(2, 3, *size).requires_grad_()
    (y,), expected = ours(x), theirs(x)
    assert relative(y, expected) < 1e-5
    (y**3).mean().backward()
    grad, x.grad = x.grad, None
    (expected**3).mean().backward()
    assert relative(grad, x.grad) < 1e-5
    references = {f'image_encoder.{name}': p.grad for name, p in theirs.named_parameters()}
    references = EFFICIENT_SAM.own(references)
    for name, parameter in ours.named_parameters():
        assert relative(parameter.grad, references[f'image_encoder.{name}']) < 1e-5, name


@pytest.mark.parametrize('arch, parameters', [('tiny', 6_163_648), ('small', 22_353_280)])
def test_published_sizes(arch, parameters):
    with torch.device('meta'):
        model = EfficientSAMViT(arch)
    assert count_parameters(model)[0] == parameters
    assert model.pos_embed.shape[1:3] == (14, 14)
    assert not any(block.window_size for block in model.blocks)


def test_authors_file(randomise, tmp_path):
    """Zipped, as EfficientSAM-S is published; its decoder is no SAM's, and is kept for the way
    back."""
    theirs, path = randomise(Reference()), tmp_path / 'efficient_sam_vits.pt.zip'
    state, content = official(theirs), io.BytesIO()
    torch.save({'model': state}, content)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('weights/efficient_sam_vits.pt', content.getvalue())
        archive.writestr('__MACOSX/weights/._efficient_sam_vits.pt', b'')
    read = EfficientSAMViT.read_weights(str(path))
    assert not any(name.startswith('mask_decoder.') for name in read)
    back = EFFICIENT_SAM.authors({**read, 'mask_decoder.mask_tokens.weight': torch.zeros(1)})
    table = 'image_encoder.pos_embed'
    assert back[table][:, 1:].equal(state.pop(table)[:, 1:]) and not back.pop(table)[:, 0].any()
    assert back.keys() == state.keys()
    assert all(value.equal(state[name]) for name, value in back.items())


def test_files_of_sam_and_of_efficient_sam_are_told_apart(tmp_path):
    torch.save(official(Reference()), tmp_path / 'theirs.pt')
    sam = SAMViT(dict(embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,)), img_size=64)
    torch.save(sam.state_dict(), tmp_path / 'sam.pt')
    with pytest.raises(ValueError, match="of EfficientSAM.*encoder='efficient_sam_vit_small'"):
        SAMViT.read_weights(str(tmp_path / 'theirs.pt'))
    with pytest.raises(ValueError, match="of SAM, which .*encoder='sam_vit_b'"):
        EfficientSAMViT.read_weights(str(tmp_path / 'sam.pt'))


def test_merged_weights_are_a_file_of_efficient_sam(build, randomise, tmp_path):
    """With the decoder that it came with; loaded again, the encoder gives the same map."""
    base, path = official(randomise(Reference())), tmp_path / 'efficient_sam_vits.pt'
    base['image_encoder.pos_embed'][:, 0] = 0
    torch.save({'model': base}, path)
    options = {
        'model.checkpoint': str(path),
        'model.backbone': dict(
            type='EfficientSAMViT',
            arch=dict(ARCH),
            img_size=64,
            peft=dict(type='LoRA'),
            _delete_=True,
        ),
        'model.decode_head.in_channels': 16,
    }
    model = build(options, trained=True)
    state = merged_sam_state(model)
    assert state.keys() == base.keys()
    changed = {name for name, value in state.items() if not value.equal(base[name])}
    assert changed == {f'image_encoder.blocks.{i}.attn.qkv.weight' for i in (0, 1)}
    assert verify_merge(model, state) < 1e-5
    again = EfficientSAMViT(ARCH, img_size=64)
    again.load_sam(EFFICIENT_SAM.own(state), 'merged')
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            again(images)[0], model.backbone(images)[0], rtol=1e-4, atol=1e-4
        )
