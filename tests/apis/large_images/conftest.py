"""A tiny model that slides windows."""

import pytest
import torch
import torch.nn.functional as F

NAMES, PALETTE = ('background', 'disc', 'ring'), [[0, 0, 0], [0, 255, 0], [9, 8, 7]]
WINDOWS = {
    'model.test_cfg': dict(mode='slide', crop_size=(64, 64), stride=(43, 43), _delete_=True),
    'test_pipeline': [
        dict(type='LoadImageFromFile'),
        dict(type='LoadMask'),
        dict(type='PackSegInputs'),
    ],
}


@pytest.fixture
def model(build, tiny):
    """``model(options, classes)``: with random values; ``classes``: its network is a convolution
    to three classes whose result depends on the whole window."""

    def model(options=None, classes=False):
        options = {**WINDOWS, **(options or {})}
        made = build(options, trained=True)
        made.cfg = tiny(options)
        made.dataset_meta = dict(classes=NAMES, palette=PALETTE)
        if classes:
            kernel = torch.randn(3, 3, 5, 5, generator=torch.Generator().manual_seed(0))
            made.out_channels = made.decode_head.out_channels = 3
            made.encode_decode = lambda x, metas: F.conv2d(
                x - x.mean((1, 2, 3), keepdim=True), kernel, padding=2
            )
        return made

    return model
