from .peft_segmentor import PEFTSegmentor
from .tta import BinaryTTAModel

__all__ = ['BinaryTTAModel', 'PEFTSegmentor']
