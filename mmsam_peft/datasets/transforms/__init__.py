from .arrays import LoadImageFromNDArray
from .augment import RandomAffine, RandomColour
from .loading import LoadImageFromFile, LoadImageOrArray, LoadMultiTaskLabels
from .masks import LoadMask, mask_to_classes
from .multi_task import MultiTaskFlip, MultiTaskResize, MultiTaskZoomCrop, PackMultiTaskInputs
from .packing import PackSegInputs
from .prompts import SamplePrompts
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
    'PackSegInputs',
    'RandomAffine',
    'RandomColour',
    'Resize',
    'SamplePrompts',
    'ScoreAt',
    'mask_to_classes',
]
