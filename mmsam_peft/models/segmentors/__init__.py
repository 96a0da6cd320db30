from .multi_task_segmentor import MultiTaskSegmentor
from .peft_segmentor import PEFTSegmentor
from .tta import BinaryTTAModel

__all__ = ['BinaryTTAModel', 'MultiTaskSegmentor', 'PEFTSegmentor']
