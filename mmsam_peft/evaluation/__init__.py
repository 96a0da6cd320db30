from .binary_metric import BinaryMetric
from .multi_task_metric import MultiTaskMetric
from .per_set_metric import PerSetMetric
from .saliency_metric import SaliencyMetric

__all__ = ['BinaryMetric', 'MultiTaskMetric', 'PerSetMetric', 'SaliencyMetric']
