from ..registry import DATASETS
from .published import Part, PublishedDataset, converted


@DATASETS.register_module()
class LeafDataset(PublishedDataset):
    """Leaf disease segmentation: diseased parts of leaves, 498 / 90 images.

    The masks hold 0 and another value, whichever. The set has two parts; the second is tested on.
    """

    METAINFO = dict(classes=('background', 'disease'), palette=[[0, 0, 0], [255, 64, 48]])
    values = 'binary01'
    layouts = (
        dict(
            train=[Part('train_images', 'train_masks', 498)],
            test=[Part('{valid_images,val_images}', '{valid_masks,val_masks}', 90)],
        ),
        dict(
            train=[Part('train/{images,image}', 'train/{masks,mask}', 498)],
            test=[Part('{valid,val}/{images,image}', '{valid,val}/{masks,mask}', 90)],
        ),
        converted(),
    )
