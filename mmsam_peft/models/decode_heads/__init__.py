from .sam_mask_head import SAMMaskHead

__all__ = ['SAMMaskHead']
