"""What formats with a file for each image share."""

from pathlib import Path

from ..files import files_below


def files_of(folder: Path, suffix: str) -> list[Path]:
    """The files below a folder with a suffix, in any case."""
    return [folder / file for file in files_below(folder) if file.lower().endswith(suffix)]


def names_file(folder: Path, *names: str, levels: int = 3) -> Path | None:
    """The first of these files in a folder or those that it lies in."""
    places = [folder, *folder.absolute().parents][:levels]
    return next(
        (place / name for place in places for name in names if (place / name).is_file()), None
    )


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that hold something."""
    text = path.read_text('utf-8-sig')
    return [line.strip() for line in text.splitlines() if line.strip()]
