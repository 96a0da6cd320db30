from .masks import LoadMask, mask_to_classes

__all__ = ['LoadMask', 'mask_to_classes']
