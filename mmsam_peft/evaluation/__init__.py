from .binary_metric import BinaryMetric
from .boundary_metric import BoundaryMetric
from .click_metric import ClickMetric
from .instance_metric import InstanceAPMetric
from .iou_metric import IoUMetric
from .multi_task_metric import MultiTaskMetric
from .per_set_metric import PerSetMetric
from .saliency_metric import SaliencyMetric

__all__ = [
    'BinaryMetric',
    'BoundaryMetric',
    'ClickMetric',
    'InstanceAPMetric',
    'IoUMetric',
    'MultiTaskMetric',
    'PerSetMetric',
    'SaliencyMetric',
]
