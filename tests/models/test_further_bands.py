"""Encoders of more than three channels: SAM's own on red, green and blue, and a part that is
learnt."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.structures import SegDataSample

from mmsam_peft.adapters.match import base_hash, load_adapter, save_adapter
from mmsam_peft.apis.merging import merged_model, merged_sam_state
from mmsam_peft.models.backbones.frozen_prefix import FrozenPrefix
from mmsam_peft.registry import MODELS, PEFT

SIX = dict(bands=[3, 2, 1, 4, 5, 6], low=0, high=[10, 10, 10, 5, 5, 5])
METHODS = sorted(PEFT.module_dict)


def settings(method: str) -> dict:
    further = dict(
        HFPeft=dict(config=dict(peft_type='LOHA', r=4)),
        TALoRA=dict(num_tasks=1),
        TaskLoRA=dict(num_tasks=1),
    )
    return dict(type=method, **further.get(method, {}))


@pytest.mark.parametrize('method', [None, *METHODS])
def test_exact_on_the_first_three_and_the_rest_is_learnt(encoder, sam, method):
    """By every method; SAM's file loads as into three channels, and its part stays what it is."""
    peft = method and settings(method)
    state = sam().state_dict()
    plain, wide = encoder(peft=peft), encoder(peft=peft, in_channels=6)
    shared = {**wide.state_dict(), **plain.state_dict()}
    frequencies = 'walk.frequencies.weight'  # SAM-Adapter looks at all channels, and starts at zero
    shared[frequencies] = wide.state_dict().get(frequencies)
    wide.load_state_dict({name: value for name, value in shared.items() if value is not None})
    for one in (plain, wide):
        one.load_sam(state, 'sam')
    images = torch.randn(1, 6, 80, 80)
    with torch.no_grad():
        assert torch.equal(plain(images[:, :3])[0], wide(images)[0])
    new = wide.patch_embed.further
    assert new.requires_grad and new.shape == (32, 3, 16, 16)
    wide(images)[0].square().mean().backward()
    assert new.grad.abs().max() > 0
    if method and method != 'Full':
        assert 'patch_embed.further' in wide.peft.trained_names
        assert 'patch_embed.further' not in wide.peft.added
        assert base_hash((plain, plain.peft)) == base_hash((wide, wide.peft))
    if method == 'Frozen':
        with pytest.raises(ValueError, match=r'trains patch_embed\.further'):
            FrozenPrefix(wide)


def build(segmentor, pixels=SIX, channels=6, peft='LoRA', **head):
    backbone = dict(type='SAMViT', img_size=64, in_channels=channels, peft=dict(type=peft))
    model = segmentor(head=head)
    backbone['arch'] = model.backbone.arch
    return segmentor(head=head, backbone=ConfigDict(backbone), pixels=pixels).eval()


def test_adapters_hold_the_new_part_and_belong_to_their_bands(segmentor, randomise, tmp_path):
    model = build(segmentor)
    other = build(segmentor)
    other.load_state_dict(model.state_dict())
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.1)
    path = tmp_path / 'adapter.safetensors'
    save_adapter(model, path)
    images, meta = torch.randn(1, 6, 64, 64), [dict(img_shape=(64, 64))]
    with torch.no_grad():
        expected = model.encode_decode(images, meta)
        assert not torch.allclose(other.encode_decode(images, meta), expected)
        load_adapter(other, path)
        assert other.encode_decode(images, meta).equal(expected)
        model.cfg = ConfigDict(
            model=dict(
                type='PEFTSegmentor',
                backbone=dict(type='SAMViT', img_size=64, in_channels=6, arch=model.backbone.arch),
                decode_head=model.head_cfg,
                pixels=SIX,
            )
        )
        model.dataset_meta = {}
        merged = merged_model(model)
        torch.testing.assert_close(
            merged.encode_decode(images, meta), expected, rtol=1e-4, atol=1e-5
        )
    with pytest.raises(ValueError, match='The model sees 6 channels, and plain SAM weights'):
        merged_sam_state(model)
    for pixels, channels in (({**SIX, 'high': 9}, 6), (dict(SIX, bands=[1, 2, 3, 4, 6, 5]), 6)):
        with pytest.raises(ValueError, match='trained on another pixels: the file has'):
            load_adapter(build(segmentor, pixels, channels), path)
    with pytest.raises(ValueError, match='trained on another pixels.*Set pixels at the top'):
        load_adapter(build(segmentor, None, 3), path)
    with pytest.raises(ValueError, match='makes images of 6 channels, but the encoder takes 3'):
        build(segmentor, SIX, 3)
    with pytest.raises(ValueError, match='in_channels=2: SAM sees red, green and blue'):
        build(segmentor, None, 2)


def test_batches_have_red_first_and_the_further_bands_as_they_are():
    mean, std = [10.0, 20, 30, 40, 50], [1.0, 2, 3, 4, 5]
    prepare = MODELS.build(
        dict(type='SegDataPreProcessor', mean=mean, std=std, bgr_to_rgb=True, size=(4, 4))
    )
    values = torch.tensor([30.0, 20, 10, 44, 60])  # blue, green, red, and two more
    images = [values.view(5, 1, 1).expand(5, 4, 4)]
    for training in (False, True):
        sample = SegDataSample(metainfo=dict(img_shape=(4, 4)))
        found = prepare(dict(inputs=images, data_samples=[sample]), training)['inputs']
        assert found[0, :, 0, 0].tolist() == [0, 0, 0, 1, 2]
    with pytest.raises(ValueError, match='an image of 3 channels, expected 5'):
        prepare(dict(inputs=[torch.zeros(3, 4, 4)], data_samples=[sample]))
    with pytest.raises(ValueError, match='one number for each channel in both'):
        MODELS.build(dict(type='SegDataPreProcessor', mean=mean, std=std[:3]))
