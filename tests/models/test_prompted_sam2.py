"""SAM 2's answers to prompts, against Hugging Face's, on random weights copied key by key."""

import pytest
import torch
from transformers import Sam2Config, Sam2MaskDecoderConfig, Sam2Model, Sam2PromptEncoderConfig

from mmsam_peft.models import SAMMaskHead
from mmsam_peft.models.backbones.hiera_keys import SAM2
from mmsam_peft.models.decode_heads.prompted import stable_or_best
from mmsam_peft.models.prompt_encoders import Prompts

POINTS = torch.tensor([[[3.0, 4.0], [60.5, 11.0]], [[0.0, 0.0], [50.0, 63.0]]])
LABELS = torch.tensor([[1, 0], [1, -1]])
BOXES = torch.tensor([[2.0, 3.0, 40.0, 60.5], [0.0, 10.0, 63.0, 20.0]])
MASKS = torch.linspace(-3, 3, 2 * 256).view(2, 1, 16, 16)
KINDS = {
    'points': dict(points=POINTS, labels=LABELS),
    'boxes': dict(boxes=BOXES),
    'all': dict(points=POINTS, labels=LABELS, boxes=BOXES, masks=MASKS),
}


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    config = Sam2Config(
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=32, image_size=64),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=64, num_attention_heads=2
        ),
    )
    with torch.device('meta'):
        model = Sam2Model(config)
    for part in (model.prompt_encoder, model.mask_decoder):
        part.to_empty(device='cpu')
        for value in (*part.parameters(), *part.buffers()):
            value.data.normal_(std=0.3)
    return model.eval()


@pytest.mark.parametrize('multimask', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_sam_2s_masks_iou_and_object_score(model, kind, multimask, relative):
    """Two objects of one image. A single mask that is not stable gives way to the best of three,
    except in training."""
    encoder, decoder = model.prompt_encoder, model.mask_decoder
    state = {
        f'{name}.{key}': value
        for name in ('prompt_encoder', 'mask_decoder')
        for key, value in getattr(model, name).state_dict().items()
    }
    head = SAMMaskHead(prompts=True, fine=True, in_channels=32, num_heads=2, mlp_dim=64)
    head.load_sam(SAM2.own(state), 'theirs')
    maps = [torch.randn(2, 32, side, side) for side in (16, 8, 4)]
    given = KINDS[kind]
    number = dict(points=torch.zeros(2, 0, 2), labels=torch.zeros(2, 0, dtype=torch.long))
    prompts = Prompts(torch.tensor([1, 1]), **{**number, **given})
    for training in (False, True):
        head.train(training), decoder.train(training)
        found = head.answers(maps, prompts, multimask)
        expected = []
        for n in range(2):
            one = {name: value[n : n + 1, None] for name, value in given.items()}
            sparse, dense = encoder(
                one.get('points'), one.get('labels'), one.get('boxes'), given.get('masks')
            )
            dense = dense[n : n + 1] if 'masks' in given else dense[:1]
            ones = torch.ones(1, 4, 4)
            place = torch.stack([ones.cumsum(2), ones.cumsum(1)], -1) / 4 - 1 / 8
            position = encoder.shared_embedding(place).permute(0, 3, 1, 2)
            fine = [decoder.conv_s0(maps[0][1:]), decoder.conv_s1(maps[1][1:])]
            masks, iou, _, score = decoder(maps[2][1:], position, sparse, dense, multimask, fine)
            expected.append((masks[0], iou[0], score[0]))
        for ours, its in zip(found, zip(*expected, strict=True), strict=True):
            assert relative(ours, torch.cat(its)) < 1e-5


def test_stable_or_best():
    masks, iou = torch.full((3, 4, 10, 10), 9.0), torch.tensor([[0.1, 0.2, 0.9, 0.3]] * 3)
    masks[:, 2] = 5
    masks[1, 0, 0, :3] = 0.01  # 3 of 100 pixels are doubtful
    masks[2, 0] = -1  # nothing: stable
    chosen, scores = stable_or_best(masks, iou)
    assert [one.flatten()[-1].item() for one in chosen] == [9, 5, -1]
    assert scores.flatten().tolist() == pytest.approx([0.1, 0.9, 0.1])
