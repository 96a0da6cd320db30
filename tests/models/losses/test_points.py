import numpy as np
import torch
from scipy.ndimage import map_coordinates

from mmsam_peft.models.losses.points import sample_labels, sample_logits, uncertain_points


def test_logits_are_bilinear():
    logits, points = torch.randn(2, 3, 5, 8), torch.rand(2, 40, 2)
    points[0, :3] = torch.tensor(
        [[0.0, 0.0], [1.0, 1.0], [0.99, 0.01]]
    )  # beyond the outer pixel centres
    values = sample_logits(logits, points)
    for image in range(2):
        x, y = points[image].double().numpy().T
        for channel in range(3):
            expected = map_coordinates(
                logits[image, channel].double().numpy(),
                [y * 5 - 0.5, x * 8 - 0.5],
                order=1,
                mode='nearest',
            )
            np.testing.assert_allclose(values[image, channel], expected, atol=1e-5)


def test_logits_are_those_of_the_resized_map():
    logits = torch.randn(1, 1, 4, 6)
    resized = torch.nn.functional.interpolate(
        logits, size=(8, 12), mode='bilinear', align_corners=False
    )
    y, x = torch.meshgrid((torch.arange(8) + 0.5) / 8, (torch.arange(12) + 0.5) / 12, indexing='ij')
    values = sample_logits(logits, torch.stack((x, y), dim=-1).view(1, -1, 2))
    torch.testing.assert_close(values.view(8, 12), resized[0, 0])


def test_labels_are_those_of_the_pixel():
    labels = torch.arange(2 * 5 * 7).view(2, 5, 7)
    image, points = torch.tensor([1, 0, 1]), torch.rand(3, 50, 2)
    points[0, 0] = 1.0  # just outside, as rounding may give
    points[0, 1] = torch.tensor([0.0, 0.999])
    values = sample_labels(labels, image, points)
    for mask, (of, places) in enumerate(zip(image, points.double().numpy(), strict=True)):
        for point, (x, y) in enumerate(places):
            assert values[mask, point] == labels[of, min(int(y * 5), 4), min(int(x * 7), 6)]


def test_uncertain_points():
    """A tenth of each map is uncertain: three quarters of the points lie there, and a tenth of the
    others."""
    torch.manual_seed(0)
    logits = torch.full((2, 10, 100), 9.0)
    logits[0, 3], logits[1, :, 40:50] = 0.1, -0.1
    points = uncertain_points(
        logits, torch.zeros(2, 10, 100), torch.arange(2), 255, 2000, 9.0, 0.75
    )
    assert points.shape == (2, 2000, 2) and points.min() >= 0 and points.max() <= 1
    inside = torch.stack(
        ((points[0, :, 1] * 10).floor() == 3, (points[1, :, 0] * 10).floor() == 4)
    ).float()
    assert (inside[:, :1500] == 1).all()
    torch.testing.assert_close(inside[:, 1500:].mean(1), torch.full((2,), 0.1), atol=0.05, rtol=0)


def test_uncertain_points_avoid_ignored_pixels():
    torch.manual_seed(0)
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[:, :2] = 255
    logits = torch.ones(1, 4, 4)
    logits[:, :2] = 0
    points = uncertain_points(
        logits, labels, torch.zeros(1, dtype=torch.long), 255, 1000, 3.0, 0.75
    )
    assert (points[:, :750, 1] >= 0.5).all()


def test_no_masks():
    points = uncertain_points(
        torch.zeros(0, 4, 4),
        torch.zeros(1, 4, 4),
        torch.zeros(0, dtype=torch.long),
        255,
        8,
        3.0,
        0.75,
    )
    assert points.shape == (0, 8, 2)
