"""Base weights as other programs write them: they load wholly, or are refused with the likely
cause."""

import json

import pytest
import torch
from safetensors.torch import save_file
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from mmsam_peft.adapters.file import sealed
from mmsam_peft.adapters.header import ADAPTER
from mmsam_peft.adapters.match import adapter_header, adapter_state, save_adapter
from mmsam_peft.apis.merging import merged_sam_state
from mmsam_peft.models.backbones import checkpoints
from mmsam_peft.models.backbones.checkpoints import read_sam_checkpoint
from mmsam_peft.models.backbones.sam_keys import to_sam_keys
from mmsam_peft.models.decode_heads import hq
from mmsam_peft.models.segmentors import peft_segmentor


def write(state, path):
    save_file(state, path) if path.suffix == '.safetensors' else torch.save(state, path)
    return str(path)


@pytest.fixture
def log(monkeypatch):
    lines = []
    for module in (checkpoints, hq, peft_segmentor):
        monkeypatch.setattr(module, 'print_log', lambda line, *args, **kwargs: lines.append(line))
    return lines


def hugging_face_model():
    from transformers import (
        SamConfig,
        SamMaskDecoderConfig,
        SamModel,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    torch.manual_seed(0)
    model = SamModel(
        SamConfig(
            vision_config=SamVisionConfig(
                hidden_size=32,
                output_channels=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=64,
                window_size=3,
                global_attn_indexes=[1],
                num_pos_feats=16,
                mlp_dim=128,
            ),
            prompt_encoder_config=SamPromptEncoderConfig(hidden_size=32, image_size=64),
            mask_decoder_config=SamMaskDecoderConfig(
                hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=32
            ),
        )
    )
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def segment_anything_model():
    return Sam(
        ImageEncoderViT(
            img_size=64,
            embed_dim=32,
            depth=2,
            num_heads=2,
            out_chans=32,
            qkv_bias=True,
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(1,),
            norm_layer=lambda dim: torch.nn.LayerNorm(dim, eps=1e-6),
        ),
        PromptEncoder(
            embed_dim=32, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=16
        ),
        MaskDecoder(
            transformer_dim=32,
            transformer=TwoWayTransformer(2, 32, 2, 32),
            iou_head_depth=3,
            iou_head_hidden_dim=32,
        ),
    ).eval()


@torch.no_grad()
def test_every_weight_of_hugging_faces_sam_loads_into_segment_anything(relative):
    """And means there what it meant: embedding, masks and scores from points, a box and a mask."""
    theirs, ours = hugging_face_model(), segment_anything_model()
    ours.load_state_dict(to_sam_keys(theirs.state_dict()), strict=True)
    image, points, mask = (
        torch.randn(1, 3, 64, 64),
        torch.tensor([[[10.0, 20.0], [40.0, 50.0]]]),
        torch.randn(1, 1, 16, 16),
    )
    labels, box = torch.tensor([[1, 0]]), torch.tensor([[[5.0, 6.0, 50.0, 60.0]]])
    embedding = ours.image_encoder(image)
    assert relative(embedding, theirs.vision_encoder(image).last_hidden_state) < 1e-5
    sparse, dense = ours.prompt_encoder((points, labels), box[:, 0], mask)
    masks, scores = ours.mask_decoder(
        embedding, ours.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=True
    )
    expected = theirs(
        image_embeddings=embedding,
        input_points=points[None],
        input_labels=labels[None],
        input_boxes=box,
        input_masks=mask,
    )
    assert (
        relative(masks, expected.pred_masks[:, 0]) < 1e-3
    )  # its LayerNorms have another epsilon: 5e-5
    assert relative(scores, expected.iou_scores[:, 0]) < 1e-3


def test_a_merged_file_from_hugging_faces_base_loads_into_segment_anything(build, tmp_path):
    base = hugging_face_model().state_dict()
    model = build({'model.checkpoint': write(base, tmp_path / 'hugging_face.pth')}, trained=True)
    merged, sam = merged_sam_state(model), segment_anything_model()
    sam.load_state_dict(merged, strict=True)
    qkv = sam.image_encoder.blocks[0].attn.qkv.weight
    assert qkv.equal(model.backbone.blocks[0].attn.qkv.merged_values()['weight'])
    assert not qkv.equal(base['vision_encoder.layers.0.attn.qkv.weight'])
    points = sam.prompt_encoder.point_embeddings[3].weight
    assert points.equal(base['prompt_encoder.point_embed.3.weight'])


@pytest.mark.parametrize('parts', [('vision_encoder.',), ('mask_decoder.', 'prompt_encoder.')])
def test_parts_of_hugging_faces_sam(encoder, tmp_path, parts):
    state = hugging_face_model().state_dict()
    path = write(
        {key: value for key, value in state.items() if key.startswith(parts)}, tmp_path / 'part.pth'
    )
    model = encoder(peft=dict(type='LoRA'), checkpoint=path)
    if parts[0] == 'vision_encoder.':
        model.init_weights()
        assert model.blocks[1].mlp.lin1.weight.equal(
            state['vision_encoder.layers.1.mlp.lin1.weight']
        )
        bare = {
            key.removeprefix('vision_encoder.'): value
            for key, value in state.items()
            if key.startswith(parts)
        }
        assert to_sam_keys(bare).keys() == read_sam_checkpoint(path).keys()
    else:
        with pytest.raises(
            ValueError,
            match='part.pth matches SAMViT.* It holds a mask decoder without the encoder',
        ):
            model.init_weights()


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: {'model_state': state, 'epoch': 3},
        lambda state: {'model_state_dict': {'model': state}, 'optimizer': {}},
        lambda state: {'state_dict': {f'model.sam.{key}': value for key, value in state.items()}},
        lambda state: {f'module._orig_mod.{key}': value for key, value in state.items()},
        lambda state: {
            key.replace('blocks.0.', 'blocks.0._orig_mod.'): value for key, value in state.items()
        },
        lambda state: {f'base_model.model.{key}': value for key, value in state.items()},
        lambda state: {
            'model': {f'sam.{key}': value for key, value in hugging_face_layout(state).items()}
        },
    ],
    ids=[
        'model_state',
        'nested',
        'lightning',
        'compiled',
        'compiled blocks',
        'peft',
        'hugging face',
    ],
)
def test_wrappers_and_prefixes(sam, tmp_path, wrap):
    state = sam(64).state_dict()
    found = read_sam_checkpoint(write(wrap(state), tmp_path / 'sam.pth'))
    assert found.keys() >= state.keys() and all(
        value.equal(found[key]) for key, value in state.items()
    )


def hugging_face_layout(state):
    theirs = hugging_face_model().state_dict()
    sam_name = {
        key: next(iter(to_sam_keys({key: value, 'vision_encoder.x': value})))
        for key, value in theirs.items()
    }
    return {key: state[name] for key, name in sam_name.items()}


def test_two_models_in_one_file(sam):
    state = sam().state_dict()
    other = {f'module.{key}': value + 1 for key, value in state.items()}
    with pytest.raises(
        ValueError,
        match=r'two\.pth holds two models: both image_encoder\.\S+ and module\.image_encoder\.\S+',
    ):
        to_sam_keys({**state, **other}, 'two.pth')


@pytest.mark.parametrize('name, suffix', [('model', '.safetensors'), ('pytorch_model', '.bin')])
@pytest.mark.parametrize('opened', ['folder', 'index'])
def test_models_in_several_files(sam, tmp_path, name, suffix, opened):
    state = sam().state_dict()
    first = dict(list(state.items())[:20])
    parts = {
        f'{name}-1-of-2{suffix}': first,
        f'{name}-2-of-2{suffix}': {k: v for k, v in state.items() if k not in first},
    }
    for file, part in parts.items():
        save_file(part, tmp_path / file) if suffix == '.safetensors' else torch.save(
            part, tmp_path / file
        )
    index = tmp_path / f'{name}{suffix}.index.json'
    names = {key: file for file, part in parts.items() for key in part}
    index.write_text(json.dumps(dict(metadata={}, weight_map=names)))
    path = tmp_path if opened == 'folder' else index
    found = read_sam_checkpoint(path)
    assert found.keys() == state.keys() and all(
        value.equal(found[key]) for key, value in state.items()
    )
    for wrong, message in (
        ({**names, 'more': f'{name}-1-of-2{suffix}'}, '1 tensors that its files do not hold: more'),
        ({**names, 'more': f'../elsewhere{suffix}'}, 'is not the index of a model'),
        ({**names, 'more': 3}, 'is not the index of a model'),
        ({}, 'is not the index of a model'),
    ):
        index.write_text(json.dumps(dict(weight_map=wrong)))
        with pytest.raises(ValueError, match=message):
            read_sam_checkpoint(path)
    index.write_text(json.dumps(dict(weight_map=names)))
    (tmp_path / f'{name}-2-of-2{suffix}').unlink()
    with pytest.raises(FileNotFoundError, match='names 2 files, of which 1 are not there'):
        read_sam_checkpoint(path)


def test_folders(sam, tmp_path):
    with pytest.raises(
        FileNotFoundError, match='is a folder without model.safetensors, .* name the file'
    ):
        read_sam_checkpoint(tmp_path)
    save_file(sam().state_dict(), tmp_path / 'model.safetensors')
    assert read_sam_checkpoint(tmp_path).keys() == sam().state_dict().keys()


FOREIGN = {
    'MobileSAM': [
        'image_encoder.patch_embed.seq.0.c.weight',
        'image_encoder.layers.1.blocks.0.attn.qkv.weight',
    ],
    'SAM 2': ['image_encoder.trunk.blocks.0.attn.qkv.weight', 'sam_mask_decoder.iou_token.weight'],
    'SAM 2,': [
        'vision_encoder.backbone.blocks.0.attn.qkv.weight',
        'mask_decoder.iou_token.weight',
    ],
    'SAM 3': ['detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight'],
    'EfficientSAM': [
        'image_encoder.blocks.0.attn.qkv.weight',
        'image_encoder.blocks.0.mlp.fc1.weight',
    ],
    'FastSAM': ['model.0.conv.weight', 'model.22.cv2.0.0.conv.weight'],
    'another vision transformer': [
        'cls_token',
        'pos_embed',
        'blocks.0.attn.qkv.weight',
        'blocks.0.mlp.fc1.weight',
    ],
    "timm's copy": [
        'blocks.0.attn.rel_pos_h',
        'blocks.0.attn.qkv.weight',
        'blocks.0.mlp.fc1.weight',
    ],
}

FITS = {
    'MobileSAM': 'mobile_sam',
    'SAM 2': 'sam2.1_hiera_small',
    'SAM 2,': 'sam2.1_hiera_small',
    'SAM 3': 'sam3',
    'EfficientSAM': 'efficient_sam_vit_small',
}


@pytest.mark.parametrize('name', FOREIGN)
@pytest.mark.parametrize('wrapper', [None, 'model'])
def test_known_foreigners_are_named(tmp_path, name, wrapper):
    state = {key: torch.zeros(1) for key in FOREIGN[name]}
    path = write({wrapper: state} if wrapper else state, tmp_path / 'foreign.pth')
    with pytest.raises(
        ValueError, match=f'foreign.pth holds the weights of {name}.*do not fit an encoder of SAM'
    ) as error:
        read_sam_checkpoint(path)
    assert ('they fit encoder=' in str(error.value)) == (name in FITS)
    assert FITS.get(name, '') in str(error.value)


def test_hq_sam_gives_its_encoder_and_decoder(sam, segmentor, log, tmp_path):
    state = sam(64).state_dict()
    more = {
        'mask_decoder.hf_token.weight': torch.zeros(1, 32),
        'mask_decoder.hf_mlp.layers.0.weight': torch.zeros(32, 32),
    }
    model = segmentor(checkpoint=write({**state, **more}, tmp_path / 'hq.pth'))
    model.init_weights()
    assert any('is of HQ-SAM' in line for line in log)
    assert model.backbone.pos_embed.equal(state['image_encoder.pos_embed'])
    assert model.decode_head.iou_token.weight.equal(state['mask_decoder.iou_token.weight'])


def lora_of_qkv(state, qkv: str, update: str):
    """As programs that wrap the projection name its own weight and the update beside it."""
    wrapped = {key.replace('attn.qkv.', f'attn.qkv.{qkv}'): value for key, value in state.items()}
    return {**wrapped, f'image_encoder.blocks.0.attn.qkv.{update}': torch.zeros(3, 32)}


@pytest.mark.parametrize(
    'qkv, update',
    [
        ('qkv.', 'linear_a_q.weight'),
        ('base_layer.', 'lora_A.default.weight'),
        ('', 'lora_A'),
        ('qkv.', 'qkv.more'),
    ],
)
def test_weights_wrapped_by_a_method(sam, tmp_path, qkv, update):
    path = write(lora_of_qkv(sam().state_dict(), qkv, update), tmp_path / 'wrapped.pth')
    with pytest.raises(
        ValueError,
        match=r"wrapped\.pth has \d+ tensors inside SAM's layers .*wraps its layers.*Merge",
    ):
        read_sam_checkpoint(path)


@pytest.mark.parametrize('method', ['Frozen', 'LoRA', 'Full'])
@pytest.mark.parametrize(
    'lost',
    [
        'blocks.1.mlp.lin2.bias',
        'patch_embed.proj.weight',
        'pos_embed',
        'neck.2.weight',
        'blocks.0.attn.rel_pos_h',
    ],
)
def test_one_tensor_is_missing(sam, encoder, tmp_path, method, lost):
    state = sam().state_dict()
    del state[f'image_encoder.{lost}']
    model = encoder(peft=dict(type=method), checkpoint=write(state, tmp_path / 'part.pth'))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=rf'part\.pth lacks 1 of \d+ tensors of the model, such as {lost}.*random'
    ):
        model.init_weights()
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    'lost',
    [
        'mask_decoder.iou_token.weight',
        'prompt_encoder.no_mask_embed.weight',
        'mask_decoder.transformer.layers.1.norm1.bias',
    ],
)
def test_a_part_of_a_decoder(sam, segmentor, tmp_path, lost):
    state = sam(64).state_dict()
    del state[lost]
    with pytest.raises(
        ValueError, match=rf'part\.pth lacks 1 of \d+ tensors.*{lost.partition(".")[2]}'
    ):
        segmentor(checkpoint=write(state, tmp_path / 'part.pth')).init_weights()


def test_decoders_of_other_sizes(sam, segmentor, tmp_path):
    state = sam(64).state_dict()
    state |= {
        key.replace('layers.1', 'layers.2'): value
        for key, value in state.items()
        if 'transformer.layers.1.' in key
    }
    message = (
        r'has \d+ tensors that SAMMaskHead has no place for.*Set in_channels, depth, .*decode_head'
    )
    with pytest.raises(ValueError, match=message):
        segmentor(checkpoint=write(state, tmp_path / 'deep.pth')).init_weights()


def test_our_files_with_updates_are_no_base(build, tiny, tmp_path):
    model = build(trained=True)
    save_adapter(model, tmp_path / 'adapter.safetensors')
    with pytest.raises(
        ValueError,
        match=r'adapter\.safetensors is an adapter of mmsam_peft \(LoRA\), no base weights',
    ):
        build({'model.checkpoint': str(tmp_path / 'adapter.safetensors')})
    for method in ('LoRA', 'VPT', 'Full'):  # inside the layers, beside them, nothing added
        peft = {'model.backbone.peft': dict(type=method, _delete_=True)}
        trained, path = build(peft, trained=True), tmp_path / f'{method}.pth'
        header = json.dumps(sealed(adapter_header(trained), adapter_state(trained)))
        torch.save(dict(meta={ADAPTER: header}, state_dict=trained.state_dict()), path)
        if method == 'Full':
            based = build({**peft, 'model.checkpoint': str(path)})
            assert based.backbone.pos_embed.equal(trained.backbone.pos_embed)
        else:
            with pytest.raises(
                ValueError,
                match=rf'{method}\.pth is a checkpoint of a model trained with {method}, whose upd',
            ):
                build({'model.checkpoint': str(path)})
    torch.save(model.state_dict(), tmp_path / 'lora.pth')
    with pytest.raises(ValueError, match=r"lora\.pth has 4 tensors inside SAM's layers"):
        build({'model.checkpoint': str(tmp_path / 'lora.pth')})


def test_a_frozen_encoder_without_weights_is_warned_of(build, log):
    build({'model.checkpoint': None})
    assert [line for line in log if 'without model.checkpoint they are random' in line]
    log.clear()
    build({'model.checkpoint': None, 'model.backbone.peft': dict(type='Full', _delete_=True)})
    build()
    assert not [line for line in log if 'are random' in line]
