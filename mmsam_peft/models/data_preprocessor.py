"""Batches as the network sees them."""

from collections.abc import Sequence

import mmseg.models
import torch
from torch import Tensor

from ..registry import MODELS


@MODELS.register_module()
class SegDataPreProcessor(mmseg.models.SegDataPreProcessor):
    """MMSegmentation's, by the same name, for images of more than three channels too: blue, green
    and red, the first three of them, change their order as those of any image.

    Raises:
        ValueError: ``mean`` and ``std`` have another number of channels than each other, or than an
            image.
    """

    def __init__(
        self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, **kwargs
    ) -> None:
        super().__init__(mean and mean[:3], std and std[:3], **kwargs)
        if mean is not None and len(mean) > 3:
            if std is None or len(std) != len(mean):
                raise ValueError(
                    f'data_preprocessor has mean={mean} and std={std}: expected one number for '
                    'each channel in both'
                )
            for name, values in dict(mean=mean, std=std).items():
                self.register_buffer(name, torch.tensor(values).float().view(-1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        images = [self._rgb(image) for image in data['inputs']]
        return super().forward({**data, 'inputs': images}, training)

    def _rgb(self, image: Tensor) -> Tensor:
        """(C, H, W)"""
        channels = len(image)
        if self._enable_normalize and len(self.mean) not in (1, channels):
            raise ValueError(
                f'got an image of {channels} channels, expected {len(self.mean)} as '
                'data_preprocessor.mean has: set pixels at the top of the config to the bands that '
                'the network is to see, and leave transforms out that change their number'
            )
        if self._channel_conversion and channels > 3:
            return image[[2, 1, 0, *range(3, channels)]]
        return image
