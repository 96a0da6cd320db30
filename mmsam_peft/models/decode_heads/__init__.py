from .msam_head import MSAMHead
from .sam_mask_head import SAMMaskHead

__all__ = ['MSAMHead', 'SAMMaskHead']
