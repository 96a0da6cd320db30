"""Files of SAM 2 in the layouts of its authors, of Hugging Face and of ours."""

import pytest
import torch
from safetensors.torch import save_file
from sam2_names import published
from tiny_encoders import TINY_SAM2 as SMALL

from mmsam_peft.models import SAMMaskHead
from mmsam_peft.models.backbones import Hiera, SAMViT
from mmsam_peft.models.backbones.hiera_keys import SAM2
from mmsam_peft.models.backbones.variants import VARIANTS, address_of

from .test_hiera import HEAD, theirs

VIDEO = ('memory_', 'no_mem_pos_enc', 'maskmem', 'no_obj_ptr', 'obj_ptr', 'mask_downsample')


def write(state, path):
    save_file(state, path) if path.suffix == '.safetensors' else torch.save(state, path)
    return str(path)


def test_the_authors_layout(tmp_path):
    state = published()
    found = Hiera.read_weights(write({'model': state}, tmp_path / 'sam2.pt'))
    encoder, head = Hiera(SMALL), SAMMaskHead(num_queries=4, num_classes=3, prompts=None, **HEAD)
    assert encoder.load_sam(found, 'sam2.pt') == []
    head.load_sam(found, 'sam2.pt')
    own = {**encoder.state_dict(), **{f'decoder.{k}': v for k, v in head.state_dict().items()}}
    for name, source in {
        'no_mem_embed': 'no_mem_embed',
        'pos_embed_window': 'image_encoder.trunk.pos_embed_window',
        'blocks.3.proj.weight': 'image_encoder.trunk.blocks.3.proj.weight',
        'blocks.3.attn.proj.weight': 'image_encoder.trunk.blocks.3.attn.proj.weight',
        'blocks.6.mlp.lin1.bias': 'image_encoder.trunk.blocks.6.mlp.layers.0.bias',
        'neck.convs.0.weight': 'image_encoder.neck.convs.0.conv.weight',
        'decoder.transformer.layers.1.mlp.lin2.weight': (
            'sam_mask_decoder.transformer.layers.1.mlp.layers.1.weight'
        ),
        'decoder.conv_s0.weight': 'sam_mask_decoder.conv_s0.weight',
        'decoder.obj_score_token.weight': 'sam_mask_decoder.obj_score_token.weight',
        'decoder.no_mask_embed.weight': 'sam_prompt_encoder.no_mask_embed.weight',
    }.items():
        assert own[name].equal(state[source]), name
    values = {value.flatten()[0].item(): value for value in state.values()}
    for name, value in own.items():
        if 'class_head' not in name:
            assert values[value.flatten()[0].item()].equal(value), name


def test_what_is_published_again_is_what_was_read():
    state = published()
    again = SAM2.authors(SAM2.own(state))
    assert again.keys() == state.keys()
    assert all(value.equal(state[name]) for name, value in again.items())


def test_both_layouts_give_the_same_names_and_shapes():
    theirs_here = {name: tuple(x.shape) for name, x in SAM2.own(theirs().state_dict()).items()}
    here = {name: tuple(x.shape) for name, x in SAM2.own(published()).items()}
    here = {name: shape for name, shape in here.items() if not name.startswith(VIDEO)}
    assert here == theirs_here


@pytest.mark.parametrize(
    'kept',
    [
        lambda name: name.removeprefix('image_encoder.') if 'image_encoder' in name else None,
        lambda name: (
            name.removeprefix('image_encoder.trunk.').replace('image_encoder.', '')
            if 'image_encoder' in name
            else None
        ),
        lambda name: f'module.{name}',
        lambda name: f'sam.model.{name}',
    ],
    ids=['trunk and neck', 'bare', 'distributed', 'nested'],
)
def test_parts_and_prefixes(tmp_path, kept):
    state = {new: value for name, value in published().items() if (new := kept(name))}
    if not any('no_mem_embed' in name for name in state):  # which is not the encoder's there
        state['no_mem_embed'] = torch.ones(1, 1, 32)
    encoder = Hiera(SMALL)
    assert encoder.load_sam(Hiera.read_weights(write(state, tmp_path / 'part.pt')), 'part') == []
    weight = published()['image_encoder.trunk.blocks.4.attn.qkv.weight']
    assert encoder.blocks[4].attn.qkv.weight.equal(weight)


def test_our_own_layouts(tmp_path):
    """An encoder's state dict, and a model's."""
    encoder = Hiera(SMALL)
    for prefix in ('', 'backbone.', 'image_encoder.'):
        state = {f'{prefix}{name}': value for name, value in encoder.state_dict().items()}
        other = Hiera(SMALL)
        path = write(state, tmp_path / 'own.safetensors')
        assert other.load_sam(Hiera.read_weights(path), path) == []
        assert all(value.equal(encoder.state_dict()[k]) for k, value in other.state_dict().items())


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda s: s.pop('image_encoder.trunk.blocks.4.norm1.bias'), 'lacks 1 of .*blocks.4.norm1'),
        (lambda s: s.pop('image_encoder.trunk.pos_embed_window'), 'lacks 1 of .*pos_embed_window'),
        (lambda s: s.pop('no_mem_embed'), 'lacks 1 of .*no_mem_embed'),
        (
            lambda s: s.update({'image_encoder.trunk.blocks.7.norm1.bias': torch.zeros(128)}),
            'width 16 and depth 8; the model has width 16 and depth 7',
        ),
        (
            lambda s: s.update(
                {'image_encoder.trunk.blocks.0.attn.qkv.lora_A': torch.zeros(3, 16)}
            ),
            "1 tensors inside SAM 2's layers that SAM 2 does not have.*lora_A.*Merge",
        ),
        (
            lambda s: s.update({'image_encoder.trunk.pos_embed': torch.zeros(1, 16, 4, 4)}),
            'another architecture: pos_embed',
        ),
    ],
)
def test_wholly_or_not_at_all(tmp_path, change, message):
    state = published()
    change(state)
    encoder = Hiera(SMALL, checkpoint=write(state, tmp_path / 'sam2.pt'), peft=dict(type='Frozen'))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        encoder.init_weights()
    assert all(value.equal(before[key]) for key, value in encoder.state_dict().items())


def test_each_family_names_the_other(tmp_path, sam):
    own = write(
        {f'backbone.{k}': v for k, v in Hiera(SMALL).state_dict().items()}, tmp_path / 'o.pth'
    )
    for path in (write({'model': published()}, tmp_path / 'sam2.pt'), own):
        with pytest.raises(
            ValueError, match="SAM 2, which do not fit.*of SAM; .*'sam2.1_hiera_small"
        ):
            SAMViT.read_weights(path)
    path = write(sam(64).state_dict(), tmp_path / 'sam.pth')
    with pytest.raises(
        ValueError, match="of SAM, which do not fit .* SAM 2; .*encoder='sam_vit_b'"
    ):
        Hiera.read_weights(path)


def test_published_addresses():
    root = 'https://dl.fbaipublicfiles.com/segment_anything_2'
    names = [name for name in VARIANTS if name.startswith('sam2')]
    assert len(names) == 8
    for name in names:
        folder = '092824' if name.startswith('sam2.1') else '072824'
        variant = VARIANTS[name]
        assert variant.address == f'{root}/{folder}/{name}.pt'
        assert address_of('published', variant.backbone, dict(fine=True)) == variant.address


def test_a_head_without_finer_maps_says_so(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmsam_peft.models.decode_heads.sam_mask_head.print_log',
        lambda line, *args, **kwargs: lines.append(line),
    )
    state = SAM2.own(published())
    SAMMaskHead(**{**HEAD, 'fine': False}).load_sam(state, 'sam2.pt')
    assert 'set decode_head.fine=True' in lines[0]
    with pytest.raises(ValueError, match='sam.pth lacks .* such as .*conv_s0'):
        SAMMaskHead(**HEAD).load_sam(
            {k: v for k, v in state.items() if '_s0' not in k and '_s1' not in k}, 'sam.pth'
        )
    with pytest.raises(ValueError, match='reads the three maps .* returns 1: set it to False'):
        SAMMaskHead(**HEAD)((torch.zeros(1, 32, 4, 4),))
