"""What image files hold, and what of it a network sees."""

from .setting import Pixels
from .survey import survey_pixels

__all__ = ['Pixels', 'survey_pixels']
