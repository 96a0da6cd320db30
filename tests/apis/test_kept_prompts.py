"""Files of models whose prompts the base's decoder answers: nothing of it is in them."""

import pytest
import torch

from mmsam_peft.adapters.match import OtherBaseError, adapter_names, save_adapter
from mmsam_peft.apis.inference import init_model
from mmsam_peft.apis.merging import merged_model, merged_sam_state
from mmsam_peft.models.backbones.sam_keys import to_sam_keys
from mmsam_peft.models.prompt_encoders import Prompts
from mmsam_peft.peft.lora import LoRALinear
from mmsam_peft.registry import MODELS

BY_BASE = {'model.decode_head.prompts': 'base'}
PROMPTS = Prompts(torch.tensor([0]), torch.tensor([[[30.0, 20.0]]]), torch.tensor([[1]]))


@pytest.fixture
def whole(tiny, tmp_path):
    """``whole(name, seed)``: a file of the tiny encoder and some decoder with prompts."""

    def write(name, seed):
        options = {'model.decode_head.prompts': True, 'model.backbone.peft.type': 'Frozen'}
        cfg = tiny(options)
        cfg.model.checkpoint = None
        torch.manual_seed(seed)
        model = MODELS.build(cfg.model)
        encoder = torch.load(tmp_path / 'base.pth')
        torch.save({**to_sam_keys(model.state_dict()), **encoder}, tmp_path / name)
        return str(tmp_path / name)

    return write


@torch.no_grad()
def answers(model):
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = model.extract_feat(image)
    return model.decode_head.prompted(maps, PROMPTS, True)[0], model.decode_head(maps)


def same(ours, its, tolerance=0.0):
    return all(torch.allclose(a, b, rtol=0, atol=tolerance) for a, b in zip(ours, its, strict=True))


def test_an_adapter_and_what_is_merged(build, tiny, whole, tmp_path):
    first, second = whole('first.pth', 1), whole('second.pth', 2)
    model = build({**BY_BASE, 'model.checkpoint': first}, trained=True)
    plain = build({'model.checkpoint': first})
    assert adapter_names(model) == adapter_names(plain), 'as without prompts'
    path = tmp_path / 'kept.safetensors'
    save_adapter(model, path, config=tiny({**BY_BASE, 'model.checkpoint': first}))
    again = init_model(path, device='cpu', checkpoint=first)
    expected = answers(model)
    assert same(answers(again), expected)
    with pytest.raises(OtherBaseError, match='another base'):
        init_model(path, device='cpu', checkpoint=second)
    with pytest.raises(ValueError, match=r'the file has prompts=.*base.*, this model prompts=True'):
        config = tiny({'model.decode_head.prompts': True, 'model.checkpoint': first})
        init_model(config, path, device='cpu')

    merged = merged_model(again)
    assert same(answers(merged), expected, 1e-4)
    base = answers(merged_model(again, share=0))[0]
    assert same([base], [answers(build({**BY_BASE, 'model.checkpoint': first}))[0]], 1e-5)
    half = merged_model(again, share=0.5)
    for module in model.backbone.modules():
        if isinstance(module, LoRALinear):
            module.scale *= 0.5
    assert same(answers(half), answers(model), 1e-4) and not same([base], answers(model)[:1], 1e-3)
    with pytest.raises(ValueError, match='got 2 of the update'):
        merged_model(again, share=2)
    state = merged_sam_state(model)
    assert not any('answering' in key for key in state)
    token = state['mask_decoder.mask_tokens.weight']
    assert torch.equal(token[:1], model.decode_head.mask_tokens.weight) and len(token) == 4


@pytest.mark.parametrize(
    ('prompts', 'way'), [(None, 'float32'), (True, 'float32'), (None, 'nf4'), (True, 'bfloat16')]
)
def test_an_adapter_whose_own_decoder_was_trained(build, tiny, whole, tmp_path, prompts, way):
    """With prompts or without: the tuned encoder, and the decoder of the base."""
    first, stored = whole('first.pth', 1), {'model.backbone.base_dtype': way}
    options = {'model.checkpoint': first, 'model.decode_head.prompts': prompts, **stored}
    model = build(options, trained=True)
    save_adapter(model, tmp_path / 'plain.safetensors', config=tiny(options))
    both = init_model(
        tmp_path / 'plain.safetensors', device='cpu', cfg_options=BY_BASE, checkpoint=first
    )
    base = MODELS.build(tiny({**options, 'model.decode_head.prompts': True}).model)
    base.load_base()
    base.backbone.load_state_dict(model.backbone.state_dict())
    prompted, semantic = answers(both)
    assert torch.equal(prompted, answers(base.eval())[0])
    assert torch.equal(semantic, build_answer(model))


@torch.no_grad()
def build_answer(model):
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return model.decode_head(model.extract_feat(image))
