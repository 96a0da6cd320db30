import pytest
import torch

from mmsam_peft.models import BinaryTTAModel
from mmsam_peft.models.decode_heads import sam_mask_head
from mmsam_peft.models.decode_heads.sam_decoder import to_image
from mmsam_peft.registry import MODELS


@pytest.fixture
def views(batch):
    """The test-time batch of two images and their mirror images, as MMEngine's TestTimeAug collates
    it."""

    def make(classes=2):
        images, samples = batch(classes)
        flipped = [sample.clone() for sample in samples]
        for sample in flipped:
            sample.set_metainfo(dict(flip=True, flip_direction='horizontal'))
        return dict(inputs=[list(images), list(images.flip(3))], data_samples=[samples, flipped])

    return make


def test_binary_is_the_mean_probability(segmentor, views, randomise):
    model = randomise(segmentor()).eval()
    data = views()
    images = torch.stack(data['inputs'][0])
    with torch.no_grad():
        merged = BinaryTTAModel(model).test_step(data)
        straight = model.inference(images, [s.metainfo for s in data['data_samples'][0]]).sigmoid()
        mirrored = (
            model.inference(images.flip(3), [s.metainfo for s in data['data_samples'][0]])
            .sigmoid()
            .flip(3)
        )
    for sample, expected in zip(merged, (straight + mirrored) / 2, strict=True):
        torch.testing.assert_close(sample.seg_logits.data, expected)
        assert torch.equal(sample.pred_sem_seg.data, (expected > 0.5).long())
        assert sample.img_path and 'gt_sem_seg' in sample
    assert (straight != mirrored).any()


@pytest.mark.parametrize('kind, foreground', [('BinaryTTAModel', 0), ('SegTTAModel', 1)])
def test_background_stays_background(segmentor, views, monkeypatch, kind, foreground):
    """MMSegmentation's own model takes probabilities for logits: sigmoid(0.01) is above 0.5."""
    model = segmentor().eval()
    torch.nn.init.zeros_(model.decode_head.output_hypernetworks_mlps[0].layers[2].weight)
    torch.nn.init.zeros_(model.decode_head.output_hypernetworks_mlps[0].layers[2].bias)
    monkeypatch.setattr(sam_mask_head, 'to_image', lambda *given: to_image(*given) - 5)
    merged = MODELS.build(dict(type=kind, module=model)).test_step(views())
    assert all((sample.pred_sem_seg.data == foreground).all() for sample in merged)


def test_multiclass_takes_mmsegmentations(segmentor, views, randomise):
    model = randomise(segmentor(head=dict(num_classes=3, num_queries=5))).eval()
    data = views(3)
    images = torch.stack(data['inputs'][0])
    with torch.no_grad():
        merged = MODELS.build(dict(type='SegTTAModel', module=model)).test_step(data)
        metas = [sample.metainfo for sample in data['data_samples'][0]]
        expected = model.inference(images, metas).softmax(1) + model.inference(
            images.flip(3), metas
        ).softmax(1).flip(3)
    for sample, scores in zip(merged, expected, strict=True):
        assert torch.equal(sample.pred_sem_seg.data.squeeze(), scores.argmax(0))
