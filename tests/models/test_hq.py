"""HQ-SAM against ``transformers``' SamHQModel, key by key.

Its release 5.24 scales up the map that went into the decoder's transformer in place of the one that
came out, as HQ-SAM's own program does: here it is the one that came out.
"""

import inspect
import textwrap

import pytest
import torch
from mmengine.config import Config, ConfigDict
from transformers import (
    SamHQConfig,
    SamHQMaskDecoderConfig,
    SamHQModel,
    SamHQPromptEncoderConfig,
    SamHQVisionConfig,
)
from transformers.models.sam_hq import modeling_sam_hq

from mmsam_peft.adapters.match import load_adapter, save_adapter
from mmsam_peft.apis.merging import merged_model, merged_sam_state, verify_merge
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.models.backbones.frozen_prefix import FrozenPrefix
from mmsam_peft.models.backbones.sam_keys import SAM
from mmsam_peft.models.decode_heads import hq
from mmsam_peft.models.prompt_encoders import Prompts
from mmsam_peft.registry import MODELS

ARCH = dict(
    embed_dim=24, depth=4, num_heads=2, global_attn_indexes=(1, 3), window_size=3, out_channels=32
)
EARLY = dict(channels=24)


def repaired_decoder():
    """``SamHQMaskDecoder.forward`` that goes on with what its transformer gives."""
    source = textwrap.dedent(inspect.getsource(modeling_sam_hq.SamHQMaskDecoder.forward))
    wrong, right = (f'point_embedding, {name} =' for name in ('iou_token_out', 'image_embeddings'))
    scope = dict(vars(modeling_sam_hq))
    exec(source.replace(wrong, right), scope)
    return scope['forward']


@pytest.fixture(autouse=True)
def repaired(monkeypatch):
    monkeypatch.setattr(modeling_sam_hq.SamHQMaskDecoder, 'forward', repaired_decoder())


def reference(num_masks: int = 1) -> SamHQModel:
    torch.manual_seed(0)
    model = SamHQModel(
        SamHQConfig(
            vision_config=SamHQVisionConfig(
                hidden_size=24,
                output_channels=32,
                num_hidden_layers=4,
                num_attention_heads=2,
                image_size=64,
                window_size=3,
                global_attn_indexes=[1, 3],
                num_pos_feats=16,
                mlp_dim=96,
            ),
            prompt_encoder_config=SamHQPromptEncoderConfig(hidden_size=32, image_size=64),
            mask_decoder_config=SamHQMaskDecoderConfig(
                hidden_size=32,
                mlp_dim=64,
                num_attention_heads=2,
                num_multimask_outputs=num_masks - 1,
                vit_dim=24,
                layer_norm_eps=1e-5,  # as in HQ-SAM's own program
            ),
        )
    )
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture
def model(segmentor, tmp_path):
    """``model(theirs, head=dict(...))``: ours, on a file of their weights."""

    def build(theirs, head=None, peft=None, written=None, **changes):
        path = str(tmp_path / 'sam_hq.pt')
        torch.save(written or theirs.state_dict(), path)
        backbone = dict(type='SAMViT', arch=dict(ARCH), img_size=64, early=True, peft=peft)
        head = {'hq': dict(EARLY), **(head or {})}
        built = segmentor(head=head, backbone=backbone, checkpoint=path, **changes)
        built.init_weights()
        return built

    return build


def images(size=(64, 64)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def their_masks(theirs, x, token_only):
    out = theirs.vision_encoder(x)
    embedding, early = out.last_hidden_state, out.intermediate_embeddings
    dense = theirs.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1).expand_as(embedding)
    position = theirs.get_image_wide_positional_embeddings().expand(2, -1, -1, -1)
    masks = theirs.mask_decoder(
        embedding, position, None, dense, False, token_only, intermediate_embeddings=early
    )[0]
    return masks[:, 0]  # (B, prompts, M, 4h, 4w)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-6)])
@pytest.mark.parametrize('token_only', [False, True])
def test_equals_sam_hq(model, relative, token_only, dtype, tolerance):
    theirs = reference().to(dtype)
    theirs.shared_image_embedding.float()  # as segment-anything's, which knows float32 only
    ours = model(theirs, dict(hq=dict(EARLY, token_only=token_only))).to(dtype)
    ours.decode_head.pe_layer.float()
    x = images().to(dtype)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, got = their_masks(theirs, a, token_only), ours.decode_head(ours.backbone(b))
    assert got.shape == (2, 1, 16, 16)
    assert relative(got, expected) < tolerance
    (expected**3).sum().backward(), (got**3).sum().backward()
    assert relative(b.grad, a.grad) < tolerance
    gradients = SAM.own({name: p.grad for name, p in theirs.named_parameters()})
    named = {f'image_encoder.{name}': p for name, p in ours.backbone.named_parameters()}
    named |= {f'mask_decoder.{name}': p for name, p in ours.decode_head.named_parameters()}
    pairs = {  # without what no output depends on, or is fixed
        name: (p.grad, gradients[name])
        for name, p in named.items()
        if p.grad is not None and name in gradients
    }
    assert len(pairs) > 100
    got, expected = (
        torch.cat([one.flatten() for one in side]) for side in zip(*pairs.values(), strict=True)
    )
    assert relative(got, expected) < tolerance
    if dtype == torch.float64:  # float32 rounds some away
        for one, other in pairs.values():
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('multimask', [False, True])
@pytest.mark.parametrize('token_only', [False, True])
def test_prompts_equal_sam_hq(model, relative, token_only, multimask):
    theirs = reference(4)
    ours = model(theirs, dict(prompts=True, hq=dict(EARLY, token_only=token_only)))
    points = torch.tensor([[[10.0, 20.0], [40.0, 30.0]], [[50.0, 5.0], [8.0, 60.0]]])
    labels = torch.tensor([[1, 0], [1, 1]])
    with torch.no_grad():
        out = theirs(
            pixel_values=images(),
            input_points=points[:, None],
            input_labels=labels[:, None],
            multimask_output=multimask,
            hq_token_only=token_only,
        )
        prompts = Prompts(torch.tensor([0, 1]), points, labels)
        masks, iou = ours.decode_head.prompted(ours.backbone(images()), prompts, multimask)
    order = iou.argsort(1, descending=True)  # transformers sorts several
    masks = masks.gather(1, order[..., None, None].expand_as(masks))
    assert relative(iou.gather(1, order), out.iou_scores[:, 0]) < 1e-4
    assert relative(masks, out.pred_masks[:, 0].expand_as(masks)) < 1e-4


def test_the_authors_layout_loads_too(model, relative):
    theirs = reference()
    first = model(theirs)
    state = SAM.authors(SAM.own(theirs.state_dict()))
    names = {name for name in state if name.startswith('mask_decoder.')}
    assert {
        'mask_decoder.hf_token.weight',
        'mask_decoder.hf_mlp.layers.2.weight',
        'mask_decoder.compress_vit_feat.3.weight',
        'mask_decoder.embedding_encoder.1.weight',
        'mask_decoder.embedding_maskfeature.3.bias',
    } <= names
    second = model(theirs, written=state)
    with torch.no_grad():
        assert second.decode_head(second.backbone(images())).equal(
            first.decode_head(first.backbone(images()))
        )


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(hq, 'print_log', lambda line, *args, **kwargs: lines.append(line))
    return lines


def test_files_with_and_without_the_token(model, log):
    """A part of it is an error; without any it starts at random, with a line; and a head without
    it says that it is left out."""
    state = SAM.own(reference().state_dict())
    plain = {name: value for name, value in state.items() if '.hq.' not in name}
    assert not log
    model(None, written=plain)
    assert 'no high-quality token' in log.pop()
    model(None, dict(hq=None), written=state)
    assert "encoder='hq_sam_vit_b'" in log.pop()
    del state['mask_decoder.hq.hf_mlp.layers.1.bias']
    with pytest.raises(ValueError, match=r'lacks 1 of .* such as hq.hf_mlp.layers.1.bias'):
        model(None, written=state)


def test_several_queries_have_a_token_each(model, batch):
    theirs = reference()
    ours = model(theirs, dict(num_classes=3, num_queries=5, loss_decode=None))
    token = theirs.mask_decoder.hq_token.weight
    own = ours.decode_head.hq.hf_token.weight
    assert own.shape == (5, 32) and len(own.unique(dim=0)) == 5
    assert (own - token).std() < 3 * token.std()
    inputs, samples = batch(3)
    sum(ours.loss(inputs, samples).values()).backward()
    assert all(p.grad is not None for p in ours.decode_head.hq.parameters())


@pytest.mark.parametrize('method', ['TaskLoRA', 'LoRA'])
def test_tasks(model, tmp_path, method):
    """Each task's channels are decoded as HQ-SAM decodes; an early map that is common to the
    tasks is refused."""
    theirs, path = reference(4), str(tmp_path / 'hq.pt')
    torch.save(theirs.state_dict(), path)
    tasks = [dict(type='Saliency', name='a'), dict(type='SurfaceNormals', name='b')]

    def build(**peft):
        backbone = dict(type='SAMViT', arch=dict(ARCH), img_size=64, early=True)
        built = MODELS.build(
            ConfigDict(
                type='MultiTaskSegmentor',
                tasks=tasks,
                backbone=dict(backbone, peft=dict(type=method, rank=2, **peft)),
                decode_head=dict(
                    type='MSAMHead', in_channels=32, num_heads=2, mlp_dim=64, hq=dict(EARLY)
                ),
                checkpoint=path,
            )
        )
        built.init_weights()
        return built

    with torch.no_grad():
        outputs = build().eval().outputs(images(), ['a', 'b'])
    expected = their_masks(theirs, images(), False)
    assert outputs['b'].shape == (2, 3, 16, 16)
    for output in outputs.values():
        torch.testing.assert_close(output, expected.expand_as(output), rtol=1e-3, atol=1e-4)
    if method == 'TaskLoRA':
        with pytest.raises(ValueError, match='is common to the tasks'):
            build(blocks='last:1')


@pytest.mark.parametrize(
    'method, blocks, whole',
    [
        (dict(type='Frozen'), 4, False),
        (dict(type='LoRA', blocks='last:1'), 3, False),
        (dict(type='LoRA', blocks=[1, 2, 3]), 1, False),
    ],
)
def test_a_frozen_beginning_keeps_the_early_map(model, method, blocks, whole):
    encoder = model(reference(), peft=method).backbone
    prefix = FrozenPrefix(encoder)
    assert (prefix.blocks, prefix.whole) == (blocks, whole)
    if blocks > 2:  # what is stored of it may not be taken for that of SAM's encoder
        assert str(prefix) == f'blocks 0 to {blocks - 1}, with the maps after 1'
    got, expected = prefix.finish(prefix(images())), encoder(images())
    assert len(expected) == 2
    torch.testing.assert_close(got, expected)


def test_files_and_merging(model, tmp_path, relative):
    theirs, path = reference(), tmp_path / 'adapter.safetensors'
    trained = model(theirs, peft=dict(type='LoRA')).eval()
    torch.manual_seed(1)
    for parameter in trained.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    save_adapter(trained, path)
    fresh = model(theirs, peft=dict(type='LoRA')).eval()
    load_adapter(fresh, path)

    def run(one):
        with torch.no_grad():
            return one.decode_head(one.backbone(images()))

    assert run(fresh).equal(run(trained))
    other = model(theirs, dict(hq=dict(EARLY, token_only=True)), peft=dict(type='LoRA'))
    with pytest.raises(ValueError, match='trained on another head: .*hq='):
        load_adapter(other, path)

    state = merged_sam_state(trained)
    assert 'mask_decoder.hf_token.weight' in state
    assert verify_merge(trained, state) < 1e-4
    assert relative(run(model(None, written=state)), run(trained)) < 1e-4
    trained.cfg = Config(dict(model=dict(type='PEFTSegmentor', **trained.made_of)))
    trained.dataset_meta = None
    assert relative(run(merged_model(trained)), run(trained)) < 1e-4


def test_an_encoder_without_the_early_map_is_refused(model):
    ours = model(reference())
    with pytest.raises(ValueError, match=r'set backbone.early=True and decode_head.hq.channels'):
        ours.decode_head(ours.backbone(images())[1:])


@pytest.mark.parametrize(
    'settings',
    [dict(out_indices=(1,)), dict(arch=dict(ARCH, global_attn_indexes=(3,)))],
)
def test_an_early_map_has_to_be_one(settings):
    with pytest.raises(ValueError, match='early=True returns the map after the first global block'):
        SAMViT(**{'arch': dict(ARCH), **settings}, early=True)
