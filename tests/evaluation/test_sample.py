import pytest
import torch

from mmsam_peft.evaluation.sample import ground_truth, labelled, prediction, probability, to_8bit


def test_ground_truth_splits_foreground_and_ignored():
    target, valid = ground_truth(
        dict(gt_sem_seg=dict(data=torch.tensor([[[0, 1, 255], [2, 1, 0]]]))), 1, 255
    )
    assert target.tolist() == [[False, True, False], [False, True, False]]
    assert valid.tolist() == [[True, True, False], [True, True, True]]


@pytest.mark.parametrize('shape', [(1, 1, 5), (1, 5, 1), (5, 1), (1, 1, 1)])
def test_thin_images_keep_their_shape(shape):
    sample = dict(
        pred_sem_seg=dict(data=torch.ones(shape)), seg_logits=dict(data=torch.ones(shape))
    )
    size = torch.Size(shape[-2:])
    assert prediction(sample, 1, size).shape == probability(sample, size).shape == size


def test_probability_of_two_channels_is_softmax():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)) * 5
    got = probability(dict(seg_logits=dict(data=logits)), torch.Size([3, 4]))
    torch.testing.assert_close(got, 1 / (1 + (logits[0] - logits[1]).exp()))


@pytest.mark.parametrize(
    'data, message',
    [
        (torch.zeros(3, 2, 2), '3 channels'),
        (torch.full((1, 2, 2), 1.5), 'apply the sigmoid'),
        (torch.full((1, 2, 2), -0.1), 'apply the sigmoid'),
        (torch.full((1, 2, 2), float('nan')), 'NaN'),
        (torch.full((2, 2, 2), float('nan')), 'NaN'),
        (torch.zeros(1, 2, 3), 'put LoadAnnotations after Resize'),
    ],
)
def test_probability_rejects(data, message):
    with pytest.raises(ValueError, match=message):
        probability(dict(seg_logits=dict(data=data)), torch.Size([2, 2]))


def test_to_8bit_rounds_also_from_half_precision():
    values = torch.tensor([[0.0, 1.4 / 255, 1.6 / 255, 1.0]])
    assert to_8bit(values).tolist() == [[0, 1, 2, 255]]
    bfloat = probability(
        dict(seg_logits=dict(data=torch.full((1, 1, 1), 0.5, dtype=torch.bfloat16))),
        torch.Size([1, 1]),
    )
    assert to_8bit(bfloat).tolist() == [[128]]


def test_labelled_needs_one_image():
    assert labelled([None, 3, None]) == [3]
    with pytest.raises(ValueError, match='None of 2 images'):
        labelled([None, None])
