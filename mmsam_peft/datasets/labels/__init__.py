"""Labels as they are stored: the arrays of dense tasks, and the annotations that labelling tools
write, a file per format."""

from .annotations import Annotations
from .dense import (
    DEPTH_UNIT,
    channels_last,
    decode,
    encode_normals,
    is_exact,
    read_array,
)
from .find import find_annotations

__all__ = [
    'DEPTH_UNIT',
    'Annotations',
    'channels_last',
    'decode',
    'encode_normals',
    'find_annotations',
    'is_exact',
    'read_array',
]
