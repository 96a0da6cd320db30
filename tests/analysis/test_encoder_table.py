"""The table of docs/encoders.md."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from mmsam_peft.analysis.encoder_table import BEGIN, END, HEAD, encoder_row, operations
from mmsam_peft.models.backbones.variants import VARIANTS

PAGE = (Path(__file__).parents[2] / 'docs/encoders.md').read_text(encoding='utf-8')
FAST = ('small', 'mobile_sam')


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        yield


def test_the_page_has_every_encoder_once():
    """Else run tools/analysis_tools/list_encoders.py."""
    table = PAGE.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    assert tuple(table[:2]) == HEAD
    assert [row.split('`')[1] for row in table[2:]] == sorted(VARIANTS)
    for row in table[2:]:
        variant = VARIANTS[row.split('`')[1]]
        assert f'| {variant.words} |' in row and f'| {variant.licence}' in row
        assert ('gated' in row) == variant.gated and f'| {variant.image_size} |' in row


@pytest.mark.parametrize(
    'name',
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS],
)
def test_rows(name):
    assert encoder_row(name) in PAGE


def test_operations_of_a_convolution():
    """4 x 4 outputs of 2 channels, each of 3 x 8 x 8 products and sums."""
    with torch.device('meta'):
        layer = nn.Conv2d(3, 2, 8, stride=8)
    assert operations(layer, 32) == 4 * 4 * 2 * 2 * 3 * 8 * 8
