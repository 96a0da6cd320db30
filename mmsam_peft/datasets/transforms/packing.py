"""Samples as models take them."""

import mmseg.datasets.transforms
import torch
from mmengine.structures import PixelData

from ...registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackSegInputs(mmseg.datasets.transforms.PackSegInputs):
    """MMSegmentation's, by the same name, which also packs the objects and prompts that
    ``SamplePrompts`` has drawn.

    Raises:
        ValueError: The mask was moved after they were drawn.
    """

    def transform(self, results: dict) -> dict:
        packed = super().transform(results)
        if 'prompts' in results:
            objects, mask = results['gt_objects'], results['gt_seg_map']
            if objects.shape != mask.shape or (mask[objects > 0] != 1).any():
                raise ValueError(
                    'The mask is not the one from which SamplePrompts has drawn: put SamplePrompts '
                    'right before PackSegInputs, behind all that moves pixels.'
                )
            sample = packed['data_samples']
            sample.gt_objects = PixelData(data=torch.from_numpy(objects)[None])
            sample.set_metainfo(dict(prompts=results['prompts']))
        return packed
