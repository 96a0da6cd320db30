"""Which image file an annotation means."""

from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote, urlparse

from ..checks.problems import size_text
from ..files import composed, files_below
from ..folder import IMAGE_SUFFIXES
from ..image_files import TURNS, open_image, orientation, shown_size


class ImageList:
    """The images below a folder, found by the names that annotations give them.

    Args:
        dropped: a folder's name that says nothing, such as ``images`` where annotations have
            ``labels``.
        skipped: a folder's name below which no images are.
    """

    def __init__(self, folder: str | Path, dropped: str = '', skipped: str = '') -> None:
        self.folder, self.dropped = Path(folder), dropped
        self.paths = [
            str(self.folder / file)
            for file in files_below(folder)
            if Path(file).suffix.lower() in IMAGE_SUFFIXES and skipped not in file.split('/')[:-1]
        ]
        self._by_name = defaultdict(list)  # last part, or its stem, in small letters -> images
        for path in self.paths:
            parts = self._parts(str(Path(path).relative_to(self.folder)))
            for last in {parts[-1], Path(parts[-1]).stem}:
                self._by_name[last.casefold()].append(((*parts[:-1], last), path))

    def find(self, name: str) -> str | None:
        """The image of a name: a path, also with backslashes, of another machine, or without
        suffix; None when there is none.

        One of the two paths must end with the other: ``D:\\\\x\\\\train\\\\a.jpg`` is ``a.jpg`` or
        ``train/a.jpg``, ``a.jpg`` is ``train/a.jpg``. The longest agreement counts.

        Raises:
            ValueError: several images agree as well.
        """
        wanted = self._parts(name)
        if not wanted:
            return None
        candidates = self._by_name.get(wanted[-1].casefold(), ())
        for fold in (str, str.casefold):
            asked = [fold(part) for part in wanted]
            agreeing = defaultdict(list)
            for parts, path in candidates:
                shared = min(len(parts), len(asked))
                if [fold(part) for part in parts[-shared:]] == asked[-shared:]:
                    # a path that is exactly the name comes before longer ones that end with it
                    agreeing[shared, -len(parts)].append(path)
            if agreeing:
                longest = max(shared for shared, _ in agreeing)
                best = {key: paths for key, paths in agreeing.items() if key[0] == longest}
                paths = best.get((longest, -len(asked))) or sum(best.values(), [])
                if len(paths) > 1:
                    raise ValueError(f'{name}: {", ".join(sorted(paths)[:3])}')
                return paths[0]
        return None

    def forget_names(self) -> None:
        """Frees what finding took; nothing is found afterwards."""
        self._by_name.clear()

    def _parts(self, name: str) -> tuple[str, ...]:
        parts = composed(name).replace('\\', '/').split('/')
        return tuple(part for part in parts if part not in ('', '.', '..', self.dropped))


def address_as_path(address: str) -> str:
    """The path in a web address: without its host, query and percent codes; Label Studio's
    ``?d=`` names a file."""
    parsed = urlparse(address)
    query = dict(part.partition('=')[::2] for part in parsed.query.split('&'))
    return unquote(query.get('d') or parsed.path)


def shown(image: str | Path) -> tuple[tuple[int, int], bool]:
    """(H, W) of an image as it is shown, and whether its EXIF data turns or mirrors it."""
    content = Path(image).read_bytes()
    try:
        size = shown_size(content)
        with open_image(content) as opened:
            return size, orientation(opened) in TURNS
    except Exception as error:  # each of PIL's decoders has its own
        raise ValueError(f'its image cannot be read: {error}') from error


def stated_size(height: object, width: object) -> tuple[int, int] | None:
    """What a file says of an image's size, if it does."""
    return (int(str(height)), int(str(width))) if height and width else None


def require_size(stated: tuple[int, int], size: tuple[int, int], turned: bool) -> None:
    """Raises ValueError unless annotations were made on an image of the size that it has."""
    if tuple(stated) == tuple(size):
        return
    fault = f'got annotations of {size_text(stated)} pixels, its image has {size_text(size)}'
    if turned and stated[::-1] == size:
        fault += (
            ' as it is shown: it is turned by its EXIF data, and was annotated as it is stored. '
            'Save the image without that turn, or annotate it as it is shown'
        )
    raise ValueError(fault)
