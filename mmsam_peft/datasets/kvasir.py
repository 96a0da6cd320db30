from ..registry import DATASETS
from .folder import FolderDataset


@DATASETS.register_module()
class KvasirDataset(FolderDataset):
    """Kvasir-SEG (Jha et al., MMM 2020): polyps in colonoscopy images.

    Layout: ``img_dir/{train,val,test}/*`` and ``ann_dir/{train,val,test}/*`` of the same names. The
    published masks are grey JPEG, so ``mask_values='binary255'``. CVC-ClinicDB and other polyp sets
    fit too.
    """

    METAINFO = dict(classes=('background', 'polyp'), palette=[[0, 0, 0], [255, 255, 255]])
