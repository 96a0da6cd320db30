from ..registry import DATASETS
from .published import Part, PublishedDataset, converted

FOLDERS = dict(
    train=('ISIC-2017_Training_Data', 'ISIC-2017_Training_Part1_GroundTruth', 2000),
    val=('ISIC-2017_Validation_Data', 'ISIC-2017_Validation_Part1_GroundTruth', 150),
    test=('ISIC-2017_Test_v2_Data', 'ISIC-2017_Test_v2_Part1_GroundTruth', 600),
)
INSIDE = dict(train='{,train/,Training/}', val='{,val/,Validation/}', test='{,test/,Test/}')


@DATASETS.register_module()
class ISIC2017Dataset(PublishedDataset):
    """ISIC 2017, part 1 (Codella et al., ISBI 2018): skin lesions, 2000 / 150 / 600 images.

    Masks are ``NAME_segmentation.png``. The superpixels, ``NAME_superpixels.png`` beside the
    images, are no images.
    """

    METAINFO = dict(classes=('background', 'lesion'), palette=[[0, 0, 0], [255, 64, 48]])
    values = 'binary255'
    layouts = (
        {
            split: [
                Part(
                    INSIDE[split] + images,
                    INSIDE[split] + masks,
                    count,
                    img_suffix=('.jpg', '.jpeg'),
                    seg_map_suffix=('_segmentation.png',),
                )
            ]
            for split, (images, masks, count) in FOLDERS.items()
        },
        converted(),
    )
