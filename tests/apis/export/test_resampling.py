"""Resizing by matrices, against Pillow and PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.image.geometric import rescale_size

from mmsam_peft.apis.export.resampling import (
    FILTERS,
    antialiased,
    bilinear,
    shrunk,
    sides_in_proportion,
)
from mmsam_peft.datasets.transforms.resize import resize_image

SIZES = [((37, 90), (64, 48)), ((64, 48), (64, 48)), ((130, 200), (50, 64)), ((5, 5), (64, 64))]


@pytest.mark.parametrize('interpolation', FILTERS)
@pytest.mark.parametrize(('old', 'new'), SIZES)
def test_images_as_pillow_resizes_them(interpolation, old, new):
    image = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    rows, columns = (antialiased(n, n, o, interpolation) for n, o in zip(new, old, strict=True))
    for given in (image, image.astype(np.float32)):
        whole = given.dtype == np.uint8
        x = torch.from_numpy(given).permute(2, 0, 1)[None].float()
        found = shrunk(x, rows, columns, whole)[0].permute(1, 2, 0).numpy()
        wanted = resize_image(given, new, interpolation).astype(np.float32)
        if whole:  # which way a half is rounded may differ
            assert np.abs(found - wanted).max() <= 1 and (found != wanted).mean() < 0.02
        else:
            np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize(('made', 'new'), [(64, 200), (64, 31), (40, 77), (1, 9), (64, 64)])
def test_answers_as_pytorch_resizes_them(made, new):
    logits = torch.randn(2, 3, 64, 64)
    matrix = bilinear(new, torch.tensor(made, dtype=torch.float64), 64)
    wanted = F.interpolate(logits[..., :made, :made], size=(new, new), mode='bilinear')
    torch.testing.assert_close(matrix @ (logits @ matrix.T), wanted, rtol=1e-4, atol=1e-4)
    assert made != new or matrix.equal(torch.eye(64))


def test_sides_in_proportion():
    for height, width in [(37, 90), (100, 64), (33, 33), (1, 500), (683, 1024)]:
        found = [int(x) for x in sides_in_proportion(height, width, (64, 48), 'half_up')]
        assert found == list(rescale_size((width, height), (64, 48)))[::-1]
        found = [int(x) for x in sides_in_proportion(height, width, (64, 64), 'half_even')]
        assert found == [max(1, round(side * 64 / max(height, width))) for side in (height, width)]


def test_padding_has_no_weight():
    matrix = antialiased(8, torch.tensor(5.0, dtype=torch.float64), 20, 'bicubic')
    assert matrix[5:].eq(0).all() and matrix.sum(1).allclose(torch.tensor([1.0] * 5 + [0] * 3))
    assert matrix[:5].equal(antialiased(5, 5, 20, 'bicubic'))
