"""The encoders of ``transformers``: as its own models compute, whatever layout their files have."""

import pytest
import torch

from mmsam_peft.models.backbones.hf_vit import FAMILIES, HFViT, build_model, sizes_of

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=8)
OWN = dict(
    dinov2=dict(mlp_ratio=2, image_size=32),
    dinov2_with_registers=dict(mlp_ratio=2, image_size=32),
    dinov3_vit=dict(intermediate_size=48),
    vit=dict(intermediate_size=48, image_size=32),
)
LAST = dict(out_indices=(1,))


def arch(model_type: str) -> dict:
    return dict(model_type=model_type, **SIZES, **OWN[model_type])


@pytest.fixture(params=FAMILIES)
def theirs(request, randomise):
    """A model of ``transformers`` with random values everywhere."""
    torch.manual_seed(0)
    model = randomise(build_model(sizes_of(arch(request.param)))).eval()
    model.type = request.param
    return model


@pytest.fixture
def saved(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / 'saved')
    return tmp_path / 'saved'


@pytest.mark.parametrize('size', [(32, 32), (24, 48)])
def test_it_equals_transformers(theirs, saved, size, relative):
    ours = HFViT(arch(theirs.type), size, checkpoint=str(saved), **LAST).eval()
    ours.init_weights()
    x = torch.randn(2, 3, *size, requires_grad=True)
    y = ours(x)[0]
    expected = theirs(x, **FAMILIES[theirs.type].embedded).last_hidden_state
    cells = y.shape[2] * y.shape[3]
    expected = expected[:, -cells:].mT.unflatten(2, y.shape[2:])
    assert relative(y, expected) < 1e-5
    names = {f'image_encoder.{name}': parameter for name, parameter in ours.named_parameters()}
    of_theirs = ours.keys.own(dict(theirs.named_parameters()))
    assert names.keys() == of_theirs.keys() - {'image_encoder.embeddings.mask_token'}
    gradients = torch.autograd.grad((y**3).sum(), [x, *names.values()])
    references = torch.autograd.grad((expected**3).sum(), [x, *(of_theirs[n] for n in names)])
    assert all(relative(a, b) < 1e-5 for a, b in zip(gradients, references, strict=True))
