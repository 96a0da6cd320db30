from .adapter_hook import AdapterHook
from .baselines_hook import BaselinesHook
from .check_data_hook import CheckDataHook
from .checkpoint_hook import CheckpointHook
from .dist_sampler_seed_hook import DistSamplerSeedHook
from .early_stopping_hook import EarlyStoppingHook
from .feature_cache_hook import FeatureCacheHook
from .finite_hook import FiniteHook
from .image_cache_hook import ImageCacheHook
from .image_scores_hook import ImageScoresHook
from .metric_model_hook import MetricModelHook
from .panel_hook import PanelHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .progress_hook import ProgressHook
from .report_hook import ReportHook
from .save_masks_hook import SaveMasksHook

RELIED_ON = (
    'CheckDataHook',
    'FiniteHook',
    'AdapterHook',
    'PlainCheckpointHook',
    'MetricModelHook',
    'ProgressHook',
    'ReportHook',
    'SettingsHook',  # of apis/
)
"""What our files and tools rely on, as in ``custom_hooks`` of configs/_base_/default_runtime.py. A
config that sets its own ``custom_hooks`` replaces that list, so the tools add what is missing; see
``apis/launch.py``."""

__all__ = [
    'RELIED_ON',
    'AdapterHook',
    'BaselinesHook',
    'CheckDataHook',
    'CheckpointHook',
    'DistSamplerSeedHook',
    'EarlyStoppingHook',
    'FeatureCacheHook',
    'FiniteHook',
    'ImageCacheHook',
    'ImageScoresHook',
    'MetricModelHook',
    'PanelHook',
    'PlainCheckpointHook',
    'ProgressHook',
    'ReportHook',
    'SaveMasksHook',
]
