from .camvid import CamVidDataset
from .checks import DatasetError, check_dataset
from .folder import FolderDataset
from .kvasir import KvasirDataset
from .quickstart import ObjectsDataset, QuickstartDataset
from .trans10k import Trans10KV2Dataset
from .transforms import LoadMask

__all__ = [
    'CamVidDataset', 'DatasetError', 'FolderDataset', 'KvasirDataset', 'LoadMask', 'ObjectsDataset', 'QuickstartDataset',
    'Trans10KV2Dataset',
    'check_dataset',
]
