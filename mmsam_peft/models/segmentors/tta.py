"""Test-time augmentation for binary and multi-class segmentors."""

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData

from ...registry import MODELS


@MODELS.register_module()
class BinaryTTAModel(BaseTTAModel):
    """Averages the foreground probabilities of a segmentor with one output channel over the
    augmented views.

    MMSegmentation's ``SegTTAModel`` is right for several channels, but applies a second sigmoid to
    the probabilities of one.
    """

    def merge_preds(self, data_samples_list: list[list]) -> list:
        merged = []
        for views in data_samples_list:
            probability = torch.stack([view.seg_logits.data for view in views]).mean(0)  # (1, H, W)
            sample = views[0]
            sample.set_data(
                dict(
                    seg_logits=PixelData(data=probability),
                    pred_sem_seg=PixelData(
                        data=(probability > self.module.decode_head.threshold).long()
                    ),
                )
            )
            merged.append(sample)
        return merged
