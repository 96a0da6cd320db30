"""Relative log amplitudes against the transform's definition."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from mmsam_peft.analysis.fourier import (
    amplitude_rows,
    amplitudes,
    block_maps,
    plot_amplitudes,
    relative_log_amplitude,
)
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.models.backbones.mae_vit import MAEViT

ARCH = dict(
    embed_dim=16, depth=2, num_heads=2, global_attn_indexes=(1,), window_size=3, out_channels=8
)


def slow(x):
    """Sums of waves, in NumPy: x (H, W)."""
    H, W = x.shape
    rows, columns = np.indices((H, W))

    def at(u, v):
        return abs((x * np.exp(-2j * np.pi * (u * rows / H + v * columns / W))).sum())

    most = min(H, W)
    return [
        np.log(at(round(step * H / most), round(step * W / most)) / at(0, 0))
        for step in range(most // 2 + 1)
    ]


@pytest.mark.parametrize('size', [(6, 6), (5, 5), (4, 8)])
def test_formula(size):
    x = torch.randn(2, *size, 3, generator=torch.Generator().manual_seed(0)) + 1
    found = relative_log_amplitude(x).numpy()
    maps = [x[b, :, :, c].numpy() for b in range(2) for c in range(3)]
    np.testing.assert_allclose(found, np.mean([slow(one) for one in maps], 0), atol=1e-4)
    assert found[0] == 0 and len(found) == min(size) // 2 + 1


def test_a_chessboard_is_the_highest_frequency():
    """1 +- 0.5 in turn: half of the mean at frequency pi, nothing between."""
    board = 1 + 0.5 * (-1.0) ** torch.arange(8)[:, None] * (-1.0) ** torch.arange(8)
    found = relative_log_amplitude(board[None, :, :, None])
    assert found[-1].item() == pytest.approx(np.log(0.5), abs=1e-5)
    assert (found[1:-1] < -10).all()


def test_block_by_block(tmp_path):
    torch.manual_seed(0)
    encoder, images = SAMViT(ARCH, img_size=64), [torch.randn(1, 3, 64, 64) for _ in range(2)]
    found = amplitudes(encoder, images)
    expected = np.mean(
        [
            [relative_log_amplitude(x.detach()).numpy() for x in encoder.walk(encoder, image)]
            for image in images
        ],
        0,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    curves = {'SAM': found, 'MAE': amplitudes(MAEViT(16, 3, 2, 16, (64, 64)), images)}
    assert [len(curve) for curve in curves.values()] == [2, 3]
    assert [row[:2] for row in amplitude_rows(curves)[1:]][:3] == [
        ['SAM', '0'],
        ['SAM', '1'],
        ['MAE', '0'],
    ]
    plot_amplitudes(curves, tmp_path / 'a.png')
    assert (tmp_path / 'a.png').stat().st_size > 1000


@pytest.mark.parametrize('name, words', [('tokens', r'\(1, 17, 32\)'), ('stages', 'several sizes')])
def test_others_are_refused(name, words):
    path = Path(__file__).parents[1] / f'peft/hosts/{name}.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ValueError, match=words):
        block_maps(module.build(None), torch.randn(1, 3, 32, 32))


def test_no_image():
    with pytest.raises(ValueError, match='no image'):
        amplitudes(SAMViT(ARCH, img_size=64), [])
