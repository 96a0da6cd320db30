from .msam_head import MSAMHead
from .sam_mask_head import SAMMaskHead
from .trans2seg_head import Trans2SegHead
from .translab_head import TransLabHead

__all__ = ['MSAMHead', 'SAMMaskHead', 'Trans2SegHead', 'TransLabHead']
