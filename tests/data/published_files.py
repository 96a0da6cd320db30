"""Writes small files in the layouts of published data sets."""

from pathlib import Path

import numpy as np
from PIL import Image

from mmsam_peft.datasets.published import SPLITS, Part, PublishedDataset, expanded, listed

RAW_NAMES = [
    *[f'cju{i}' for i in range(9)],
    *sorted(listed('pranet_kvasir_test'))[:4],
    *[f'{i}' for i in (1, 2, 3, 4)],
    *sorted(listed('pranet_cvc_test'))[:4],
    *[f'COD10K-CAM-1-{i}' for i in range(4)],
]
"""Names of which each part takes some."""


def write_layout(
    root: Path,
    kind: type[PublishedDataset],
    layout: int = 0,
    alternative: int = 0,
    number: int = 4,
    side: int = 16,
    jpeg: bool = False,
) -> dict[str, set[str]]:
    """``number`` pairs in each part of each split, in the given layout of the class.

    Args:
        alternative: which of the names of a folder, the last where there are fewer.
        jpeg: masks as JPEG.

    Returns:
        The images' paths below the root, by split.
    """
    rng, written = np.random.default_rng(0), {}
    for split in SPLITS:
        for index, part in enumerate(kind.layouts[layout].get(split, ())):
            images, masks = (
                options[min(alternative, len(options) - 1)]
                for options in (list(expanded(path)) for path in part[:2])
            )
            if part.take and part.take is not bool:
                names = [name for name in RAW_NAMES if part.take(name)][-number:]
            else:
                names = [f'{split}{index}{i}' for i in range(number)]
            for name in names:
                image = root / images / f'{name}{".jpg" if ".jpg" in part.img_suffix else ".png"}'
                mask = root / masks / f'{name}{part.seg_map_suffix[0]}'
                for path in (image, mask):
                    path.parent.mkdir(parents=True, exist_ok=True)
                classes = rng.permutation(16).reshape(4, 4) % len(kind.METAINFO['classes'])
                classes = np.kron(classes, np.ones((side // 4, side // 4), int))
                Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(image)
                stored = Image.fromarray(_stored(classes, kind, part))
                if jpeg:
                    stored.save(mask.with_suffix('.jpg'), quality=90)
                else:
                    stored.save(mask)
                written.setdefault(split, set()).add(str(image.relative_to(root)))
    return written


def _stored(classes: np.ndarray, kind: type[PublishedDataset], part: Part) -> np.ndarray:
    """What the mask holds, by what the data set says."""
    values = kind.values if part.mask_values is None else part.mask_values
    if values == 'index':
        return (
            np.where(classes == 0, 11, classes).astype(np.uint8)
            if part.label_map
            else (classes.astype(np.uint8))
        )
    if values == 'binary01':
        return (38 * classes).astype(np.uint8)
    if values == 'binary255':
        return (255 * classes).astype(np.uint8)
    colours = np.array([[0, 0, 0], [0, 255, 0], [255, 255, 255]])
    return colours[classes].astype(np.uint8)
