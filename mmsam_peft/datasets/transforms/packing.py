"""Samples as models take them."""

import mmseg.datasets.transforms
import numpy as np
import torch
from mmengine.structures import PixelData

from ...registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackSegInputs(mmseg.datasets.transforms.PackSegInputs):
    """MMSegmentation's, by the same name, which also packs the objects and prompts that
    ``SamplePrompts`` has drawn, as ``gt_objects`` (1, H, W) and ``prompts`` among the metadata; and
    where none are drawn, the map of a sample's objects as ``gt_instances``.

    Raises:
        ValueError: The mask was moved after they were drawn.
    """

    def transform(self, results: dict) -> dict:
        packed = super().transform(results)
        sample = packed['data_samples']
        if 'prompts' in results:
            objects, mask = results['gt_objects'], results['gt_seg_map']
            if objects.shape != mask.shape or (mask[objects > 0] != 1).any():
                raise ValueError(
                    'The mask is not the one from which SamplePrompts has drawn: put SamplePrompts '
                    'right before PackSegInputs, behind all that moves pixels.'
                )
            sample.gt_objects = PixelData(data=torch.from_numpy(objects)[None])
            sample.set_metainfo(dict(prompts=results['prompts']))
        elif 'gt_instance_map' in results:
            instances = torch.from_numpy(np.ascontiguousarray(results['gt_instance_map']))
            sample.gt_instances = PixelData(data=instances[None])
        return packed
