"""What of a validation is for the screen."""

import io
import logging

import torch
from mmengine.logging import MMLogger

from mmsam_peft.apis.console import Console
from mmsam_peft.evaluation import IoUMetric


def test_a_table_of_classes_is_for_the_log_alone():
    logger, screen, log = MMLogger.get_current_instance(), io.StringIO(), io.StringIO()
    handlers = [Console(logging.StreamHandler(screen)), logging.StreamHandler(log)]
    before, logger.handlers = logger.handlers, handlers
    try:
        metric = IoUMetric()
        metric.dataset_meta = dict(classes=('road', 'car'))
        right, union = torch.tensor([2.0, 1.0]), torch.tensor([4.0, 4.0])
        found = metric.compute_metrics([(right, union, right, right)])
    finally:
        logger.handlers = before
    assert found['mIoU'] == 37.5 and screen.getvalue() == ''
    assert 'per class results' in log.getvalue() and '| road' in log.getvalue().replace('  ', ' ')
