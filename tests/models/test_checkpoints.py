import re

import pytest
import torch
from mmengine.runner import save_checkpoint
from safetensors.torch import save_file

from mmsam_peft.models.backbones import checkpoints
from mmsam_peft.models.backbones import encoder as encoders
from mmsam_peft.models.backbones.checkpoints import read_sam_checkpoint
from mmsam_peft.models.backbones.sam_keys import to_sam_keys


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(checkpoints, 'print_log', lambda line, *args, **kwargs: lines.append(line))
    return lines


def write(state, path):
    """Saves a state dict as its path's suffix says, returns the path as text."""
    save_file(state, path) if path.suffix == '.safetensors' else torch.save(state, path)
    return str(path)


def hugging_face_name(key):
    """What transformers' SamModel calls a weight of segment-anything."""
    parts = key.split('.')
    if parts[0] == 'image_encoder':
        parts[0] = 'vision_encoder'
        if parts[1] == 'blocks':
            parts[1] = 'layers'
            parts[3] = {'norm1': 'layer_norm1', 'norm2': 'layer_norm2'}.get(parts[3], parts[3])
        elif parts[1] == 'neck':
            parts[2] = ['conv1', 'layer_norm1', 'conv2', 'layer_norm2'][int(parts[2])]
        elif parts[1] == 'patch_embed':
            parts[2] = 'projection'
    elif parts[0] == 'mask_decoder':
        if parts[1] == 'output_upscaling':
            parts[1:3] = [
                {'0': 'upscale_conv1', '1': 'upscale_layer_norm', '3': 'upscale_conv2'}[parts[2]]
            ]
        elif parts[1] in ('output_hypernetworks_mlps', 'iou_prediction_head'):
            parts[-3:-1] = [['proj_in'], ['layers', '0'], ['proj_out']][int(parts[-2])]
        elif parts[2] == 'norm_final_attn':
            parts[2] = 'layer_norm_final_attn'
        elif parts[2] == 'layers':
            parts[4] = parts[4].replace('norm', 'layer_norm')
    elif parts[1] == 'pe_layer':
        return 'shared_image_embedding.positional_embedding'
    elif parts[1] == 'point_embeddings':
        parts[1] = 'point_embed'
    elif parts[1] == 'mask_downscaling':
        layers = {'0': 'conv1', '1': 'layer_norm1', '3': 'conv2', '4': 'layer_norm2', '6': 'conv3'}
        parts[1:3] = ['mask_embed', layers[parts[2]]]
    return '.'.join(parts)


def layouts(state):
    """The same weights under every key layout."""
    encoder = {
        key.removeprefix('image_encoder.'): value
        for key, value in state.items()
        if key.startswith('image_encoder.')
    }
    return {
        'official': state,
        'hugging face': {hugging_face_name(key): value for key, value in state.items()},
        'data parallel': {f'module.{key}': value for key, value in state.items()},
        'encoder': {f'image_encoder.{key}': value for key, value in encoder.items()},
        'encoder without prefix': encoder,
        'wrapped': {'model': state, 'epoch': 3},
        'mmengine': {
            'state_dict': {f'backbone.{key}': value for key, value in encoder.items()},
            'meta': {},
        },
    }


@pytest.mark.parametrize('layout', list(layouts({})))
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_every_layout_loads(sam, encoder, log, tmp_path, layout, suffix):
    reference = sam()
    state = layouts(reference.state_dict())[layout]
    if suffix == '.safetensors':
        state = state.get('model', state.get('state_dict', state))
    model = encoder(checkpoint=write(state, tmp_path / f'sam{suffix}'))
    model.init_weights()
    assert all(
        torch.equal(value, reference.image_encoder.state_dict()[key])
        for key, value in model.state_dict().items()
    )
    count = len(model.state_dict())
    assert log == [
        f'{model.checkpoint} -> SAMViT: {count} tensors loaded, 0 of them resized, 0 missing, 0 '
        'unused'
    ]


@pytest.mark.parametrize('layout', ['official', 'hugging face', 'data parallel'])
def test_the_decoder_comes_along(sam, segmentor, log, tmp_path, layout):
    reference = sam(64)
    model = segmentor(
        checkpoint=write(layouts(reference.state_dict())[layout], tmp_path / 'sam.pth')
    )
    model.init_weights()
    expected = to_sam_keys(reference.state_dict())
    for key, value in model.decode_head.state_dict().items():
        source = expected.get(f'mask_decoder.{key}', expected.get(f'prompt_encoder.{key}'))
        assert torch.equal(value, source[:1] if key == 'mask_tokens.weight' else source), key
    assert (
        f'-> SAMMaskHead: {len(model.decode_head.state_dict())} tensors loaded, 0 of them resized, '
        '0 missing, ' in log[-1]
    )


def test_a_shared_position_encoding_is_found_under_either_name():
    keys = (
        'shared_image_embedding.positional_embedding',
        'prompt_encoder.shared_embedding.positional_embedding',
    )
    for key in keys:
        state = to_sam_keys({'vision_encoder.pos_embed': torch.zeros(1), key: torch.ones(1)})
        assert state['prompt_encoder.pe_layer.positional_encoding_gaussian_matrix'] == 1


def test_our_own_checkpoint_loads(segmentor, randomise, tmp_path, batch):
    trained = randomise(segmentor(peft=dict(type='Full')))
    save_checkpoint(
        {'state_dict': trained.state_dict(), 'meta': {'epoch': 3}}, str(tmp_path / 'epoch_3.pth')
    )
    other = segmentor(checkpoint=str(tmp_path / 'epoch_3.pth'))
    other.init_weights()
    images, _ = batch()
    assert torch.equal(other(images), trained(images))


@pytest.mark.parametrize(
    'dropped, group', [('rel_pos', 'rel_pos_h x2, rel_pos_w x2'), ('neck', 'neck x6')]
)
def test_partial_checkpoints_say_what_is_missing(
    sam, encoder, log, tmp_path, monkeypatch, dropped, group
):
    warnings = []
    monkeypatch.setattr(encoders, 'print_log', lambda line, *args, **kwargs: warnings.append(line))
    state = {key: value for key, value in sam().state_dict().items() if dropped not in key}
    state['image_encoder.extra'] = torch.ones(1)
    model = encoder(peft=dict(type='Frozen'), checkpoint=write(state, tmp_path / 'sam.pth'))
    model.init_weights()
    found = re.search(r'(\d+) missing \((.*?)\), (\d+) unused \((.*)\)', log[0])
    assert found[2] == group and found[3] == '1' and found[4] == 'extra'
    assert [line.partition(': ')[2] for line in warnings] == [
        "train it with backbone.unfreeze=['neck']."
    ] * (dropped == 'neck')


def test_resized_tables_are_counted(sam, encoder, log, tmp_path):
    encoder(
        img_size=(128, 64), checkpoint=write(sam().state_dict(), tmp_path / 'sam.pth')
    ).init_weights()
    assert '3 of them resized (pos_embed, rel_pos_h, rel_pos_w)' in log[0]


@pytest.mark.parametrize('method', ['ConvLoRA', 'LoRA', 'Frozen', 'Full'])
def test_loading_before_or_after_injection_is_the_same(sam, encoder, method):
    state = to_sam_keys(sam().state_dict())
    plain, injected = encoder(), encoder(peft=dict(type=method))
    plain.load_sam(state, 'sam')
    injected.load_sam(state, 'sam')
    base = {
        key: value for key, value in injected.named_parameters() if key not in injected.peft.added
    }
    assert base.keys() == dict(plain.named_parameters()).keys()
    assert all(torch.equal(value, base[key]) for key, value in plain.named_parameters())
    x = torch.randn(1, 3, 80, 80)
    torch.testing.assert_close(injected.eval()(x), plain.eval()(x))


@pytest.mark.parametrize(
    'content, message',
    [
        (
            {'layer1.weight': torch.ones(1)},
            r'Nothing in .* matches SAMViT: expected keys like image_encoder\.pos_embed, got lay',
        ),
        ({'epoch': 3}, 'Nothing in .* no tensors'),
        ([1, 2], 'holds a list, expected a state dict'),
    ],
)
def test_foreign_files(encoder, tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        encoder(checkpoint=write(content, tmp_path / 'foreign.pth')).init_weights()


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            dict(embed_dim=768, depth=12),
            r"width 768 and depth 12 \(arch='base'\); the model has width 32 and depth 2.*\.arch",
        ),
        (dict(depth=3), r'width 32 and depth 3; the model'),
        (
            dict(out_channels=16),
            r'another architecture: neck\.0\.weight: \(16, 32, 1, 1\) in the checkpoint, \(32, 32, '
            r'1, 1\) in',
        ),
    ],
)
def test_another_arch(encoder, arch, changes, message):
    with torch.device('meta'):
        state = {
            f'image_encoder.{key}': value
            for key, value in encoder(arch={**arch, **changes}).state_dict().items()
        }
    with pytest.raises(ValueError, match=message):
        encoder().load_sam(state, 'other.pth')


def test_absent_and_truncated_files(sam, encoder, tmp_path):
    path = tmp_path / 'sam_vit_b_01ec64.pth'
    with pytest.raises(
        FileNotFoundError,
        match='no checkpoint .*sam_vit_b_01ec64.pth.*https://dl.fbaipublicfiles.com',
    ):
        read_sam_checkpoint(path)
    for name in ('sam.pth', 'sam.safetensors'):
        path = tmp_path / name
        write(sam().state_dict(), path)
        path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(ValueError, match=f'{name} is not a readable .*truncated'):
            encoder(checkpoint=str(path)).init_weights()


def test_init_weights_loads_once(sam, encoder, tmp_path):
    path = tmp_path / 'sam.pth'
    model = encoder(checkpoint=write(sam().state_dict(), path))
    model.init_weights()
    path.unlink()
    model.init_weights()
