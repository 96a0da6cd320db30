"""Merged weights, in segment-anything's own model of the same sizes."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from mmsam_peft.apis.merging import merged_sam_state, verify_merge, write_state
from mmsam_peft.registry import PEFT

METHODS = sorted(PEFT.module_dict)


@pytest.fixture
def sam():
    """``sam()``: segment-anything's model in the sizes of the tiny one, randomly filled."""

    def build() -> Sam:
        torch.manual_seed(3)
        model = Sam(
            ImageEncoderViT(
                img_size=64,
                embed_dim=32,
                depth=2,
                num_heads=2,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                out_chans=32,
                use_rel_pos=True,
                window_size=3,
                global_attn_indexes=(1,),
            ),
            PromptEncoder(
                embed_dim=32,
                image_embedding_size=(4, 4),
                input_image_size=(64, 64),
                mask_in_chans=16,
            ),
            MaskDecoder(
                transformer_dim=32,
                transformer=TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=32, num_heads=2),
            ),
        )
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter) * 0.1
        return model.eval()

    return build


@pytest.fixture
def tuned(sam, build, tmp_path):
    """``tuned(backbone method, head method)``: a trained model on the weights of that SAM."""
    torch.save(sam().state_dict(), tmp_path / 'sam.pth')

    def tuned(peft: str, head: dict | None = None, options: dict | None = None):
        model = build(
            {
                'model.checkpoint': str(tmp_path / 'sam.pth'),
                'model.backbone.peft': dict(type=peft, _delete_=True),
                'model.decode_head.peft': head,
                **(options or {}),
            }
        )
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * 0.1
        return model

    return tuned


@pytest.mark.parametrize('peft', [name for name in METHODS if PEFT.get(name).merges == 'fully'])
def test_segment_anything_computes_the_same(tuned, sam, peft):
    model, image = tuned(peft), torch.randn(1, 3, 64, 64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = merged_sam_state(model)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items()), (
        'the model stays as it is'
    )
    plain = sam()
    untouched = {name: value.clone() for name, value in plain.state_dict().items()}
    plain.load_state_dict(state)  # strict: every key of SAM and no other
    with torch.no_grad():
        expected = model.backbone(image)[0]
        torch.testing.assert_close(
            plain.image_encoder(image), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item()
        )
    assert verify_merge(model, state) < 1e-5
    own = {
        'mask_decoder.mask_tokens.weight': model.decode_head.mask_tokens.weight[0],
        'mask_decoder.transformer.layers.0.mlp.lin1.weight': model.decode_head.transformer.layers[
            0
        ].mlp.lin1.weight,
    }
    for key, value in own.items():
        assert state[key][:1].equal(value[None]) if 'tokens' in key else state[key].equal(value)
    for key in (
        'mask_decoder.iou_prediction_head.layers.0.weight',
        'prompt_encoder.not_a_point_embed.weight',
        'mask_decoder.output_hypernetworks_mlps.1.layers.0.weight',
    ):
        assert state[key].equal(untouched[key])


def test_method_in_the_decoder(tuned, sam):
    model = tuned('LoRA', dict(type='LoRA', rank=2))
    state = merged_sam_state(model)
    sam().load_state_dict(state)
    assert verify_merge(model, state) < 1e-5
    state['mask_decoder.transformer.layers.0.mlp.lin1.weight'] += 0.1
    with pytest.raises(
        ValueError, match='differs from the adapted one by .* more than 1e-04: it was not written'
    ):
        verify_merge(model, state)


def test_position_tables_keep_their_size(tuned, sam):
    """The model has them for images of 96 pixels, SAM's file for 64."""
    model = tuned('LoRA', options={'model.backbone.img_size': 96})
    plain = sam()
    table = plain.image_encoder.pos_embed.clone()
    plain.load_state_dict(merged_sam_state(model))
    assert plain.image_encoder.pos_embed.equal(table)
    assert model.backbone.pos_embed.shape != table.shape


def test_multiclass_head_stays_outside(tuned, sam):
    options = {
        'model.decode_head.num_classes': 3,
        'model.decode_head.num_queries': 5,
        'model.decode_head.loss_decode': dict(type='SetPredictionLoss'),
    }
    model, plain = tuned('LoRA', options=options), sam()
    before = {key: value.clone() for key, value in plain.mask_decoder.state_dict().items()}
    state = merged_sam_state(model)
    plain.load_state_dict(state)
    assert all(value.equal(before[key]) for key, value in plain.mask_decoder.state_dict().items())
    assert verify_merge(model, state) < 1e-5


def test_base_without_decoder_and_no_base(build):
    for options in ({}, {'model.checkpoint': None}):
        model = build(options, trained=True)
        state = merged_sam_state(model)
        assert verify_merge(model, state) < 1e-5
        assert {key.split('.')[0] for key in state} == {
            'image_encoder',
            'mask_decoder',
            'prompt_encoder',
        }
        assert not [key for key in state if 'lora' in key]


@pytest.mark.parametrize('peft', [name for name in METHODS if PEFT.get(name).merges != 'fully'])
def test_methods_that_do_not_merge(tuned, peft):
    model = tuned(peft)
    if model.peft_cfg['type'] == 'HFPeft':
        return
    extent = 'merges only in part' if model.backbone.peft.merges == 'in part' else 'does not merge'
    with pytest.raises(ValueError, match=f'{peft} {extent}: .* Use the adapter file'):
        merged_sam_state(model)


@pytest.mark.parametrize('part', ['backbone', 'decode_head'])
def test_a_model_that_is_not_finite(tuned, part):
    """Whatever compares with NaN is false, the tolerance too."""
    model = tuned('LoRA')
    trained = [
        parameter for parameter in getattr(model, part).parameters() if parameter.requires_grad
    ]
    trained[-1].data.fill_(torch.nan)
    with pytest.raises(
        ValueError,
        match='NaN or infinite' if part == 'backbone' else 'differs .* by nan .* was not written',
    ):
        verify_merge(model, merged_sam_state(model))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, suffix):
    """As on a full disk."""
    out, state = tmp_path / 'new' / f'sam{suffix}', dict(a=torch.ones(3))
    write_state(state, out)
    before = out.read_bytes()

    def fails(*args):
        raise OSError('no space left on device')

    for name in ('os.fsync', 'os.replace', 'torch.save', 'mmsam_peft.apis.merging.save_file'):
        with monkeypatch.context() as patch:
            patch.setattr(name, fails)
            written = name.endswith(
                'torch.save' if suffix == '.safetensors' else 'save_file'
            )  # which is not called
            with nullcontext() if written else pytest.raises(OSError, match='no space'):
                write_state(dict(a=torch.ones(3)), out)
        assert out.read_bytes() == before and [path.name for path in out.parent.iterdir()] == [
            out.name
        ]
