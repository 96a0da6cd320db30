from .annotated import AnnotatedDataset
from .camouflage import CamouflageDataset
from .camvid import CamVidDataset
from .checks.dataset import check_dataset
from .checks.problems import DatasetError
from .cityscapes_mtan import CityScapesMTANDataset
from .folder import FolderDataset
from .isic2017 import ISIC2017Dataset
from .kvasir import KvasirDataset
from .labels import find_annotations
from .leaf import LeafDataset
from .multi_task import Layout, MultiTaskDataset
from .nyuv2 import NYUv2Dataset
from .pascal_mt import PASCALMTDataset
from .polyp import PolypDataset
from .published import PublishedDataset
from .quickstart import ObjectsDataset, QuickstartDataset
from .quickstart_multi_task import MultiTaskQuickstartDataset
from .roads import RoadsDataset
from .sbu import SBUDataset
from .trans10k import Trans10KV1Dataset, Trans10KV2Dataset
from .transforms import LoadMask

__all__ = [
    'AnnotatedDataset',
    'CamVidDataset',
    'CityScapesMTANDataset',
    'DatasetError',
    'FolderDataset',
    'KvasirDataset',
    'Layout',
    'LoadMask',
    'MultiTaskDataset',
    'MultiTaskQuickstartDataset',
    'NYUv2Dataset',
    'ObjectsDataset',
    'PASCALMTDataset',
    'QuickstartDataset',
    'CamouflageDataset',
    'ISIC2017Dataset',
    'LeafDataset',
    'PolypDataset',
    'PublishedDataset',
    'RoadsDataset',
    'SBUDataset',
    'Trans10KV1Dataset',
    'Trans10KV2Dataset',
    'check_dataset',
    'find_annotations',
]
