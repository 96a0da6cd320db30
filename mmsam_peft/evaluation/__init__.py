from .binary_metric import BinaryMetric
from .multi_task_metric import MultiTaskMetric
from .saliency_metric import SaliencyMetric

__all__ = ['BinaryMetric', 'MultiTaskMetric', 'SaliencyMetric']
