"""Losses: of one-channel heads with MMSegmentation's interface, and of heads whose queries predict
a set of masks."""

from .balanced_bce import BalancedBCELoss
from .dice_bce import DiceBCELoss
from .set_prediction import SetPredictionLoss, semantic_logits
from .squared_dice import SquaredDiceLoss
from .structure_loss import StructureLoss

__all__ = [
    'BalancedBCELoss',
    'DiceBCELoss',
    'SetPredictionLoss',
    'SquaredDiceLoss',
    'StructureLoss',
    'semantic_logits',
]
