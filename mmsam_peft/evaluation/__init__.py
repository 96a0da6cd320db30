from .binary_metric import BinaryMetric
from .saliency_metric import SaliencyMetric

__all__ = ['BinaryMetric', 'SaliencyMetric']
