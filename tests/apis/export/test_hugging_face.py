"""Merged weights in transformers' own models, of small sizes."""

import json

import pytest
import torch
from tiny_encoders import TINY_SAM2
from transformers import Sam2Model, SamModel

from mmsam_peft.apis.export.hugging_face import write_hugging_face
from mmsam_peft.apis.inference import init_model
from mmsam_peft.apis.merging import merged_sam_state
from mmsam_peft.models.prompt_encoders import Prompts

HEAD = {'model.decode_head.mlp_dim': 64, 'model.decode_head.prompts': True}
SECOND = {
    'model.backbone': dict(type='Hiera', arch=TINY_SAM2, img_size=64, peft=dict(type='LoRA')),
    'model.decode_head.fine': True,
}


@pytest.fixture
def tuned(tiny, tmp_path):
    """``tuned(options)``: a model that is tuned, with its prompts, on the random weights of a whole
    SAM."""

    def built(options: dict, checkpoint: str | None):
        config = tiny({**HEAD, **options, 'test_dataloader.dataset.lazy_init': True})
        if 'model.backbone' in options:
            config.model.backbone = options['model.backbone']
        config.model.checkpoint = checkpoint
        return init_model(config, device='cpu')

    def tuned(options: dict):
        base = built(options, None)
        for parameter in base.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
        torch.save(merged_sam_state(base), tmp_path / 'sam.pth')
        model = built(options, str(tmp_path / 'sam.pth'))
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(torch.randn_like(parameter) * 0.03)
        return model

    return tuned


@pytest.mark.parametrize(('kind', 'options'), [(SamModel, {}), (Sam2Model, SECOND)])
@torch.no_grad()
def test_their_model_answers_the_same(tuned, tmp_path, kind, options):
    """Embedding, masks and scores of a click and a box; and how images are read."""
    torch.manual_seed(0)
    model = tuned(options)
    assert write_hugging_face(model, merged_sam_state(model), tmp_path / 'folder') < 1e-5
    theirs = kind.from_pretrained(tmp_path / 'folder').eval()
    assert (tmp_path / 'folder/model.safetensors').exists()
    image = torch.randn(1, 3, 64, 64)
    points, labels = torch.tensor([[[10.0, 20.0], [40.0, 50.0]]]), torch.tensor([[1, 0]])
    found = theirs(
        image, input_points=points[None], input_labels=labels[None], multimask_output=True
    )
    prompts = Prompts(torch.zeros(1, dtype=torch.long), points, labels)
    masks, iou = model.decode_head.prompted(model.backbone(image), prompts, True)
    assert masks.shape == (1, 3, 16, 16)
    assert (found.pred_masks[:, 0] - masks).abs().max() < 1e-5 < masks.std()
    assert (found.iou_scores[:, 0] - iou).abs().max() < 1e-5 < iou.std()
    read = json.loads((tmp_path / 'folder/preprocessor_config.json').read_text())
    assert read['image_mean'] == pytest.approx([128 / 255] * 3)
    assert read['image_std'] == pytest.approx([64 / 255] * 3)
    assert 64 in read['size'].values()
    with pytest.raises(FileExistsError, match='is there already'):
        write_hugging_face(model, merged_sam_state(model), tmp_path / 'folder')
    assert not list(tmp_path.glob('*unfinished*'))


def test_what_has_no_place_there_is_refused(build, tmp_path):
    classes = {
        'model.decode_head.num_classes': 3,
        'model.decode_head.num_queries': 5,
        'model.decode_head.loss_decode': dict(type='SetPredictionLoss'),
    }
    for options, words in (
        (classes, 'a SAMMaskHead of 5 queries'),
        ({'model.backbone.img_size': (64, 96)}, 'images of 64 x 96 pixels'),
        ({'model.backbone.img_size': 80}, 'images of 80 x 80 pixels'),
        ({}, 'have no mask_decoder|have no prompt_encoder'),
    ):
        model = build({**options, 'model.checkpoint': None})
        model.cfg = type('Config', (), dict(test_pipeline=[dict(type='Resize', scale=(64, 64))]))
        with pytest.raises(ValueError, match=words):
            write_hugging_face(model, merged_sam_state(model), tmp_path / 'folder')
    assert not list(tmp_path.glob('folder*'))
    with pytest.raises(ValueError, match='ConvLoRA merges only in part'):
        merged_sam_state(build({'model.backbone.peft': dict(type='ConvLoRA', _delete_=True)}))
