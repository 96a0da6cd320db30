"""Batches as the network sees them."""

import mmseg.models
from torch import Tensor

from ..registry import MODELS


@MODELS.register_module()
class SegDataPreProcessor(mmseg.models.SegDataPreProcessor):
    """MMSegmentation's, by the same name, which leaves images of more than three channels in the
    order of blue, green, red: here the first three of them change their order too.

    Raises:
        ValueError: ``mean`` has another number of channels than an image.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        return super().forward(
            {**data, 'inputs': [self._rgb(one) for one in data['inputs']]}, training
        )

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
