"""Makes ``label_scene.py`` importable for the tests beside it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
