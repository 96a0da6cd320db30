"""SAM 3's image encoder against transformers' and against its authors' formula and names."""

import pytest
import torch
import torch.nn.functional as F
from tiny_encoders import TINY_SAM3

from mmsam_peft.layers.rotary import angles, turned
from mmsam_peft.models import SAMMaskHead
from mmsam_peft.models.backbones.frozen_prefix import FrozenPrefix
from mmsam_peft.models.backbones.sam3_keys import SAM3
from mmsam_peft.models.backbones.sam3_vit import SAM3ViT
from mmsam_peft.models.backbones.variants import VARIANTS
from mmsam_peft.peft import count_parameters

ARCH = dict(TINY_SAM3, depth=3, out_channels=16)


@pytest.fixture
def encoder(randomise):
    def build(**settings):
        arch = {**ARCH, **settings.pop('arch', {})}
        return randomise(SAM3ViT(arch, img_size=84, **settings))

    return build


def hugging_face(size):
    """``Sam3VisionModel`` of ARCH; its released config's eps, 1e-6, is not its authors'."""
    from transformers import Sam3VisionConfig, Sam3VisionModel

    trunk = dict(
        model_type='sam3_vit_model',
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=size,
        patch_size=14,
        window_size=3,
        global_attn_indexes=[1],
        pretrain_image_size=42,
        layer_norm_eps=1e-5,
    )
    return Sam3VisionModel(Sam3VisionConfig(backbone_config=trunk, fpn_hidden_size=16))


def official(model):
    """The encoder's weights as the file of SAM 3's authors has them, with a decoder and others."""
    state = {}
    for name, value in model.state_dict().items():
        name = name.replace('pos_tile', 'pos_embed').replace('mlp.lin', 'mlp.fc')
        if name == 'pos_embed':
            value = torch.cat([torch.zeros(1, 1, 32), value.flatten(1, 2)], 1)
        for number, level in enumerate(('x4', 'x2', 'x1', 'x0_5')):
            name = name.replace(f'neck.{level}', f'neck.{number}')
        if name.startswith('neck.'):
            convs = f'detector.backbone.vision_backbone.convs{name[4:]}'
            state[convs], name = value + 1, f'sam2_convs{name[4:]}'
        elif name != 'no_mem_embed':
            name = f'trunk.{name}'
        tracker = name == 'no_mem_embed'
        state[f'{"tracker." if tracker else "detector.backbone.vision_backbone."}{name}'] = value
    state['detector.geometry_encoder.norm.weight'] = torch.ones(4)
    state['tracker.sam_mask_decoder.mask_tokens.weight'] = torch.ones(4, 16)
    state['tracker.sam_mask_decoder.transformer.layers.0.mlp.lin1.bias'] = torch.ones(8)
    return state


def own(state):
    """Under the encoder's names."""
    state = SAM3.own(state)
    return {
        name.removeprefix('image_encoder.'): value
        for name, value in state.items()
        if name.startswith('image_encoder.')
    }


@pytest.mark.parametrize('size', [84, 112])
def test_equals_transformers(encoder, randomise, relative, size):
    """At the native size, and where windows are padded and positions tiled and stretched."""
    theirs = randomise(hugging_face(size))
    ours = encoder(arch=dict(scales=(4, 2, 1, 0.5)))
    ours.load_sam(SAM3.own(theirs.state_dict()), 'theirs')
    torch.nn.init.zeros_(ours.no_mem_embed)
    x = torch.randn(2, 3, size, size).requires_grad_()
    maps, expected = ours(x), theirs(x).fpn_hidden_states
    assert [y.shape for y in maps] == [y.shape for y in expected]
    assert all(relative(a, b) < 1e-5 for a, b in zip(maps, expected, strict=True))
    grad, reference = (
        torch.autograd.grad(sum((y**3).mean() for y in levels), x, retain_graph=True)[0]
        for levels in (maps, expected)
    )
    assert relative(grad, reference) < 1e-5
    for levels in (maps, expected):
        sum((y**3).mean() for y in levels).backward()
    references = own({name: p.grad for name, p in theirs.named_parameters()})
    assert references.keys() | {'no_mem_embed'} == dict(ours.named_parameters()).keys()
    for name, gradient in references.items():
        assert relative(ours.get_parameter(name).grad, gradient) < 1e-5, name


def test_tracker_with_its_decoder(relative):
    """Masks without a prompt, of ``Sam3TrackerModel``; its neck makes the three maps here, so that
    its ``no_memory_embedding`` meets the last of those that it uses."""
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    vision = hugging_face(84).config.to_dict()
    vision |= dict(
        scale_factors=[4.0, 2.0, 1.0], backbone_feature_sizes=[[24, 24], [12, 12], [6, 6]]
    )
    theirs = Sam3TrackerModel(
        Sam3TrackerConfig(
            vision_config=vision,
            prompt_encoder_config=dict(hidden_size=16, image_size=84, patch_size=14),
            mask_decoder_config=dict(
                hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
            ),
        )
    ).eval()
    for parameter in theirs.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    positions = theirs.prompt_encoder.shared_embedding.positional_embedding
    theirs.shared_image_embedding.positional_embedding.data.copy_(positions)
    state = SAM3.own(theirs.state_dict())
    ours = SAM3ViT(ARCH, img_size=84)
    head = SAMMaskHead(
        num_classes=3, num_queries=4, in_channels=16, num_heads=2, mlp_dim=32, stride=14, fine=True
    )
    ours.load_sam(state, 'theirs')
    head.load_sam(state, 'theirs')
    with torch.no_grad():
        x = torch.randn(2, 3, 84, 84)
        *finer, last = theirs.get_image_embeddings(x)
        expected = theirs.mask_decoder.train()(  # in evaluation it chooses among its masks
            image_embeddings=last,
            image_positional_embeddings=theirs.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=torch.zeros(2, 1, 0, 16),
            dense_prompt_embeddings=theirs.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1),
            multimask_output=False,
            high_resolution_features=finer,
        )[0][:, 0]
        assert relative(head.decode(ours(x))[1][:, :1], expected) < 1e-5


@pytest.mark.parametrize('cells', [24, 72, 37])
def test_rotary_positions_are_the_authors(relative, cells):
    """As complex numbers, written after their program's formula."""
    q = torch.randn(2, 3, cells**2, 32)
    f = 1 / 10000 ** (torch.arange(0, 32, 4) / 32)
    t = torch.arange(cells**2)
    x, y = (t % cells) * (24 / cells), (t // cells) * (24 / cells)
    turns = torch.polar(torch.ones(()), torch.cat([torch.outer(x, f), torch.outer(y, f)], 1))
    expected = torch.view_as_real(torch.view_as_complex(q.unflatten(-1, (-1, 2))) * turns)
    turn = angles((cells, cells), (24, 24), 32, q)
    assert relative(turned(q, turn.cos(), turn.sin()), expected.flatten(-2)) < 1e-5


def test_rotary_positions_of_a_map_that_is_no_square():
    """Each axis is stretched by itself: a row of columns is turned as in a square of them."""
    wide, square = (angles((rows, 6), (3, 3), 8, torch.ones(())) for rows in (2, 6))
    assert wide[:6].equal(square[:6])
    assert wide.view(2, 6, 4)[:, 0, 2:].equal(square.view(6, 6, 4)[::3, 0, 2:])


def test_published_sizes_are_sam3s():
    from transformers import Sam3VisionConfig, Sam3VisionModel

    with torch.device('meta'):
        ours, theirs = SAM3ViT(), Sam3VisionModel(Sam3VisionConfig())
    shapes = {name: value.shape for name, value in own(theirs.state_dict()).items()}
    coarse = {name for name in shapes if name.startswith('neck.x0_5.')}
    own_shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert own_shapes.pop('no_mem_embed') == (1, 1, 256)
    assert own_shapes == {name: shapes[name] for name in shapes.keys() - coarse}
    windows = [layer.window_size for layer in theirs.backbone.layers]
    assert [block.window_size for block in ours.blocks] == windows
    assert count_parameters(ours)[0] == 453_186_560


def test_maps_are_at_strides_3_5_7_and_14():
    model = SAM3ViT(ARCH, img_size=84)
    assert [y.shape for y in model(torch.zeros(1, 3, 84, 112))] == [
        (1, 16, 24, 32),
        (1, 16, 12, 16),
        (1, 16, 6, 8),
    ]


def test_odd_sizes_are_zero_padded(encoder):
    model, x = encoder(), torch.randn(1, 3, 40, 71)
    padded = model(F.pad(x, (0, 13, 0, 2)))
    assert all(a.equal(b) for a, b in zip(model(x), padded, strict=True))


def test_fused_equals_eager(encoder):
    fused, eager = (encoder(attention=kind).double() for kind in ('fused', 'eager'))
    eager.load_state_dict(fused.state_dict())
    x = torch.randn(1, 3, 84, 56, dtype=torch.float64)
    results = []
    for model in (fused, eager):
        maps = model(x)
        loss = sum((y**3).mean() for y in maps)
        results.append([*maps, *torch.autograd.grad(loss, list(model.parameters()))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_authors_file(encoder, tmp_path):
    """Reads the tracker's neck and decoder, and writes what it read."""
    model, path = encoder(), tmp_path / 'sam3.pt'
    state = official(model)
    turns = 'detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis'
    torch.save({'model': {**state, turns: torch.ones(9, 4, dtype=torch.cfloat)}}, path)
    read = SAM3ViT.read_weights(str(path))
    fresh = SAM3ViT(ARCH, img_size=84, peft=dict(type='LoRA'))
    fresh.load_sam(read, str(path))
    for name, value in model.state_dict().items():
        assert fresh.state_dict()[name].equal(value), name
    assert read['mask_decoder.mask_tokens.weight'].equal(torch.ones(4, 16))
    back = SAM3.authors(read)
    assert back.keys() == state.keys()
    assert all(value.equal(state[name]) for name, value in back.items())


@pytest.mark.parametrize('tracker', [True, False])
def test_hugging_face_file(encoder, tmp_path, tracker):
    """The published file holds a detector and a tracker; the detector's neck takes the place of a
    missing one."""
    from safetensors.torch import save_file

    theirs, path = hugging_face(84).state_dict(), tmp_path / 'model.safetensors'
    state = {f'detector_model.vision_encoder.{name}': value for name, value in theirs.items()}
    state['detector_model.mask_decoder.mask_embedder.layers.0.weight'] = torch.ones(2, 2)
    if tracker:
        necks = {name: value + 1 for name, value in theirs.items() if name.startswith('neck.')}
        state |= {f'tracker_{name}': value for name, value in necks.items()}
        state['tracker_model.no_memory_embedding'] = torch.full((1, 1, 16), 3.0)
        state['tracker_model.mask_decoder.mask_tokens.weight'] = torch.ones(4, 16)
        layer = 'tracker_model.mask_decoder.transformer.layers.0'
        state[f'{layer}.mlp.proj_in.weight'] = torch.ones(2, 16)
        state[f'{layer}.self_attn.o_proj.weight'] = torch.ones(16, 16)
    save_file(state, path)
    model = encoder()
    read = SAM3ViT.read_weights(str(path))
    model.load_sam(read, str(path))
    name = 'neck.fpn_layers.2.proj1.weight'
    assert model.neck.x1.conv_1x1.weight.equal(theirs[name] + 1 if tracker else theirs[name])
    assert ('mask_decoder.mask_tokens.weight' in read) == tracker
    if tracker:
        assert (model.no_mem_embed == 3).all()
        layer = 'mask_decoder.transformer.layers.0'
        assert {f'{layer}.mlp.lin1.weight', f'{layer}.self_attn.out_proj.weight'} <= read.keys()


def test_files_that_do_not_fit(encoder, tmp_path):
    model, path = encoder(), tmp_path / 'sam3.pt'
    state = SAM3.authors({f'image_encoder.{k}': v for k, v in model.state_dict().items()})
    torch.save(state, path)
    with pytest.raises(ValueError, match=r'pos_tile: \(1, 3, 3, 32\) in the checkpoint'):
        SAM3ViT({**ARCH, 'learnt_size': 4}).load_sam(SAM3ViT.read_weights(path), str(path))
    with pytest.raises(ValueError, match="of SAM 3, which do not fit .* encoder='sam3'"):
        from mmsam_peft.models import SAMViT

        SAMViT.read_weights(str(path))
    del state['detector.backbone.vision_backbone.trunk.blocks.1.attn.qkv.bias']
    torch.save(state, path)
    with pytest.raises(ValueError, match='lacks 1 of .* blocks.1.attn.qkv.bias'):
        model.load_sam(SAM3ViT.read_weights(path), str(path))


def test_published_weights_are_gated():
    assert VARIANTS['sam3'].gated and VARIANTS['sam3'].licence == 'SAM License'
    assert SAM3ViT(ARCH).checkpoint is None


@pytest.mark.parametrize(
    'arch, message',
    [
        (dict(num_heads=16), 'multiple of 4'),
        (dict(scales=(4, 2)), 'expected 1'),
        (dict(scales=(1, 3)), 'expected 1'),
    ],
)
def test_sizes_that_are_not_there(arch, message):
    with pytest.raises(ValueError, match=message):
        SAM3ViT({**ARCH, **arch})


@pytest.mark.parametrize('peft', [dict(type='LoRA', blocks='last:1'), dict(type='Frozen')])
def test_frozen_beginning(encoder, peft):
    """For the feature cache: the necks' maps are made anew, those of the last frozen block are
    kept."""
    model = encoder(peft=peft)
    prefix, x = FrozenPrefix(model), torch.randn(2, 3, 70, 84)
    assert prefix.blocks == (3 if peft['type'] == 'Frozen' else 2)
    kept = prefix(x)
    assert kept.shape == (2, 5, 6, 32)
    assert all(a.equal(b) for a, b in zip(prefix.finish(kept), model(x), strict=True))


@pytest.mark.parametrize('peft', [None, dict(type='VPT')])
def test_export(encoder, peft):
    """Rotary positions are real numbers; exported, every operator is PyTorch's own."""
    model, x = encoder(peft=peft).eval(), torch.randn(1, 3, 84, 84)
    program = torch.export.export(model, (x,))
    expected = model(x)
    for a, b in zip(program.module()(x), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    nodes = [node for node in program.graph.nodes if node.op == 'call_function']
    assert all('mmsam_peft' not in str(node.target) for node in nodes)
    values = [node.meta['val'] for node in nodes]
    assert not any(isinstance(v, torch.Tensor) and v.is_complex() for v in values)


def test_blocks_compile_as_one_graph(encoder):
    x = torch.randn(1, 3, 84, 84)
    options = dict(backend='aot_eager', fullgraph=True)
    plain, compiled = (
        encoder(arch=dict(depth=2), peft=dict(type='LoRA')),
        encoder(arch=dict(depth=2), peft=dict(type='LoRA'), compile=options),
    )
    compiled.load_state_dict(plain.state_dict())
    gradients = []
    for model in (plain, compiled):
        sum((y**3).mean() for y in model(x)).backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_checkpointing_changes_nothing(encoder):
    x = torch.randn(1, 3, 84, 84)
    plain, checkpointed = encoder(), encoder(checkpointing=True)
    checkpointed.load_state_dict(plain.state_dict())
    gradients = []
    for model in (plain, checkpointed):
        sum((y**3).mean() for y in model(x)).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(a.equal(b) for a, b in zip(*gradients, strict=True))
