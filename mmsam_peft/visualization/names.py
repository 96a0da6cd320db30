"""What files made from images are called."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def output_names(images: Iterable[Path], root: str | os.PathLike) -> dict[Path, Path]:
    """NAME.png for the image NAME.jpg, with its folders below ``root``; no two images share one.

    a.jpg and a.png side by side become a.jpg.png and a.png.png.
    """
    below = {image: image.relative_to(root) for image in images}
    names = {image: path.with_suffix('.png') for image, path in below.items()}
    whole = {image: path.with_name(f'{path.name}.png') for image, path in below.items()}
    while True:
        count = Counter(str(name).casefold() for name in names.values())  # some disks ignore case
        shared = [
            image
            for image, name in names.items()
            if count[str(name).casefold()] > 1 and name != whole[image]
        ]
        if not shared:
            return names
        names.update({image: whole[image] for image in shared})
