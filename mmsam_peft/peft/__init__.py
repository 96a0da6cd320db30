"""Fine-tuning methods, one file each; ``base.py`` holds their contract."""
from .base import PEFTMethod, apply_peft, build_method, count_parameters, target_linears
from .conv_lora import ConvLoRA
from .frozen import Frozen
from .full import Full
from .lora import LoRA

__all__ = [
    'PEFTMethod', 'apply_peft', 'build_method', 'count_parameters', 'target_linears', 'ConvLoRA', 'Frozen', 'Full', 'LoRA',
]
