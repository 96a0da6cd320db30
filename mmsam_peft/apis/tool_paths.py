"""Our command lines, as they are called from where the user is."""

import shlex
import sys
from pathlib import Path


def tool(name: str) -> str:
    """``python`` and ``tools/NAME``: beside the tool that runs, wherever it was called from."""
    folder = Path(sys.argv[0]).parent
    if not (folder / name).is_file():
        folder = Path('tools')
    return shlex.join(['python', (folder / name).as_posix()])
