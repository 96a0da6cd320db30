from .adapter_hook import AdapterHook
from .check_data_hook import CheckDataHook
from .feature_cache_hook import FeatureCacheHook
from .panel_hook import PanelHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .save_masks_hook import SaveMasksHook

__all__ = ['AdapterHook', 'CheckDataHook', 'FeatureCacheHook', 'PanelHook', 'PlainCheckpointHook', 'SaveMasksHook']
