from .arrays import LoadImageFromNDArray
from .loading import LoadImageFromFile, LoadImageOrArray, LoadMultiTaskLabels
from .masks import LoadMask, mask_to_classes
from .multi_task import MultiTaskFlip, MultiTaskResize, MultiTaskZoomCrop, PackMultiTaskInputs
from .resize import Resize, ScoreAt

__all__ = [
    'LoadImageFromFile',
    'LoadImageFromNDArray',
    'LoadImageOrArray',
    'LoadMask',
    'LoadMultiTaskLabels',
    'MultiTaskFlip',
    'MultiTaskResize',
    'MultiTaskZoomCrop',
    'PackMultiTaskInputs',
    'Resize',
    'ScoreAt',
    'mask_to_classes',
]
