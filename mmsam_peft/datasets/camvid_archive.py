"""CamVid's original archive, 701 frames with masks of 32 colours, in its 11 classes and splits."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from .camvid import COUNTS, CamVidDataset
from .checks.problems import DatasetError

COLOURS = dict(
    sky=[(128, 128, 128)],  # Sky
    building=[  # Building, Wall, Bridge, Tunnel, Archway
        (128, 0, 0),
        (64, 192, 0),
        (0, 128, 64),
        (64, 0, 64),
        (192, 0, 128),
    ],
    pole=[(192, 192, 128), (0, 0, 64)],  # Column_Pole, TrafficCone
    road=[(128, 64, 128), (128, 0, 192), (192, 0, 64)],  # Road, LaneMkgsDriv, LaneMkgsNonDriv
    pavement=[(0, 0, 192), (64, 192, 128), (128, 128, 192)],  # Sidewalk, ParkingBlock, RoadShoulder
    tree=[(128, 128, 0), (192, 192, 0)],  # Tree, VegetationMisc
    sign=[(192, 128, 128), (128, 128, 64), (0, 64, 64)],  # SignSymbol, Misc_Text, TrafficLight
    fence=[(64, 64, 128)],  # Fence
    car=[  # Car, SUVPickupTruck, Truck_Bus, Train, OtherMoving
        (64, 0, 128),
        (64, 128, 192),
        (192, 128, 192),
        (192, 64, 128),
        (128, 64, 64),
    ],
    pedestrian=[(64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)],
    # Pedestrian, Child, CartLuggagePram, Animal
    bicyclist=[(0, 128, 192), (192, 0, 192)],  # Bicyclist, MotorcycleScooter
)
"""RGB of the archive's classes that make each of the 11; any other colour is unlabelled."""
CLASSES = CamVidDataset.METAINFO['classes']


def split_of(name: str) -> str:
    """The split of a frame, by its sequence and number: SegNet's (Badrinarayanan et al., 2017)."""
    sequence, _, number = re.sub(r'_L$', '', name).rpartition('_')
    frame = int(number.lstrip('f'))
    if sequence == 'Seq05VD' or sequence == '0001TP' and frame >= 8550:
        return 'test'
    return 'val' if sequence == '0016E5' and 7959 <= frame <= 8159 and frame % 2 else 'train'


def unpack_camvid(images: Path, masks: Path, out: Path) -> Iterator[str]:
    """Writes ``img_dir`` and ``ann_dir``, class numbers and 255, and yields the frames' names.

    Args:
        images: ``701_StillsRaw_full``, or another folder of ``NAME.png``.
        masks: ``LabeledApproved_full``, or another folder of ``NAME_L.png`` or ``NAME.png``.

    Raises:
        DatasetError: frames or masks are missing, or more than half of a mask is of no known
            colour.
    """
    frames = {path.stem: path for path in sorted(images.glob('*.png'))}
    labels = {re.sub(r'_L$', '', path.stem): path for path in sorted(masks.glob('*.png'))}
    counts = {split: sum(split_of(name) == split for name in frames) for split in COUNTS}
    if counts != COUNTS or set(frames) - set(labels):
        lost = sorted(set(frames) - set(labels))
        raise DatasetError(
            f'got {counts} images in {images.absolute()} and {len(lost)} without a mask in '
            f'{masks.absolute()}{f", the first {lost[0]}" if lost else ""}, expected {COUNTS}, all '
            'with masks: unpack both archives again'
        )
    for name, path in frames.items():
        classes = eleven_classes(np.asarray(Image.open(labels[name]).convert('RGB')))
        if (classes == 255).mean() > 0.5:
            raise DatasetError(
                f'{labels[name]}: got more than half of the pixels of no known colour, expected '
                "the archive's 32 colours"
            )
        for folder, pixels in (
            ('img_dir', Image.open(path)),
            ('ann_dir', Image.fromarray(classes)),
        ):
            place = out / folder / split_of(name) / f'{name}.png'
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels.save(place)
        yield name


def eleven_classes(colours: np.ndarray) -> np.ndarray:
    """Class numbers (H, W) of RGB (H, W, 3)."""
    table = np.full(1 << 24, 255, np.uint8)
    for number, name in enumerate(CLASSES):
        for red, green, blue in COLOURS[name]:
            table[red << 16 | green << 8 | blue] = number
    return table[colours @ np.array([1 << 16, 1 << 8, 1])]
