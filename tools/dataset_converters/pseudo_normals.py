"""Derives surface normals from depth images.

python tools/dataset_converters/pseudo_normals.py DATA_ROOT

Reads ``depth_dir/<split>/*.png`` (16 bit) or ``*.npy`` (metres), writes
``normals_dir/<split>/*.png`` (RGB, 8 bit) or, with --npy, float32 arrays, and a note that these are
pseudo-normals: computed from depth, not measured, and as good as that depth.

The inverse depth of a plane is an affine function of the image's coordinates, 1 / z = a u + b v + c
with u = (x - x0) / f; its normal is along (a, b, c). Around each pixel such a function is fitted to
the neighbours of about the same depth. Axes: x to the right, y up, z towards the camera. Grey, the
zero vector, stands where there is no depth or too little to fit.
"""

import argparse
from pathlib import Path

import numpy as np
from mmengine.utils import track_progress
from PIL import Image

from mmsam_peft.datasets.labels import DEPTH_UNIT, encode_normals

NYUV2_FOCAL, NYUV2_WIDTH = 518.86, 640
SAMPLES = 6  # neighbours on each side of the pixel, along each axis
NEIGHBOURS_NEEDED = 12

NOTE = """Pseudo-normals, not measured: derived from depth by a plane fit (pseudo_normals.py).
Focal length {focal}, radius {radius}, tolerance {tolerance}.
"""


def normals_from_depth(
    depth: np.ndarray, focal: float, radius: float | None = None, tolerance: float = 0.08
) -> np.ndarray:
    """Unit normals (H, W, 3) float32 that face the camera, the zero vector where there is none.

    Args:
        depth: (H, W), metres along the optical axis, which passes through the image's centre; zero
            or not finite = unknown.
        focal: in pixels.
        radius: half the side of the window around each pixel, in pixels. Default: a 24th of the
            width.
        tolerance: neighbours whose inverse depth differs by more than this share of the pixel's lie
            on other surfaces.
    """
    height, width = depth.shape
    known = np.isfinite(depth) & (depth > 0)
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
    radius = width / 24 if radius is None else radius
    steps = np.unique(np.rint(np.linspace(-radius, radius, 2 * SAMPLES + 1)).astype(int))
    offsets = np.stack([*np.meshgrid(steps, steps), np.ones((len(steps), len(steps)))], -1).reshape(
        -1, 3
    )  # (dx, dy, 1)
    pad = steps[-1]
    padded = np.pad(inverse, pad)
    around = np.stack(
        [
            padded[pad + dy : pad + dy + height, pad + dx : pad + dx + width]
            for dx, dy, _ in offsets.astype(int)
        ]
    )
    weights = ((around > 0) & (np.abs(around - inverse) <= tolerance * inverse)).astype(
        np.float32
    )  # (N, H, W)

    products = offsets[:, :, None] * offsets[:, None]
    moments = np.tensordot(weights, products.astype(np.float32), (0, 0)).astype(
        float
    )  # (H, W, 3, 3)
    target = np.tensordot(weights * around, offsets.astype(np.float32), (0, 0)).astype(float)
    fitted = (
        known & (weights.sum(0) >= NEIGHBOURS_NEEDED) & (np.linalg.det(moments) > 0.5)
    )  # an integer; 0: all on a line
    slope_x, slope_y, centre = np.linalg.solve(moments[fitted], target[fitted][..., None])[..., 0].T
    y, x = np.nonzero(fitted)
    a, b = focal * slope_x, focal * slope_y
    c = centre - slope_x * (x + 0.5 - width / 2) - slope_y * (y + 0.5 - height / 2)
    normals = np.zeros((height, width, 3), np.float32)
    normals[fitted] = np.stack([-a, b, c], -1) / np.sqrt(a * a + b * b + c * c)[:, None]
    return normals


def read_depth(path: Path, unit: float) -> np.ndarray:
    """Metres, (H, W)."""
    return np.load(path).squeeze() if path.suffix == '.npy' else np.asarray(Image.open(path)) * unit


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root', type=Path)
    parser.add_argument(
        '--out', type=Path, help='folder of the normals; default: DATA_ROOT/normals_dir'
    )
    parser.add_argument(
        '--focal',
        type=float,
        help=f"in pixels; default: NYUv2's, {NYUV2_FOCAL} at an image width of "
        f'{NYUV2_WIDTH}, scaled to the width of each image',
    )
    parser.add_argument(
        '--depth-unit', type=float, default=DEPTH_UNIT, help='metres per step of a depth image'
    )
    parser.add_argument(
        '--radius',
        type=float,
        help="half the window's side, in pixels; default: a 24th of the image's width",
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=0.08,
        help="share by which a neighbour's inverse depth may differ",
    )
    parser.add_argument('--npy', action='store_true', help='write float32 arrays')
    args = parser.parse_args()
    folder, out = args.data_root / 'depth_dir', args.out or args.data_root / 'normals_dir'
    paths = sorted(path for path in folder.rglob('*') if path.suffix in ('.png', '.npy'))
    if not paths:
        parser.error(
            f'got no *.png or *.npy below {folder}, expected depth images: '
            'DATA_ROOT/depth_dir/<split>/NAME.png'
        )

    def convert(path: Path) -> None:
        depth = read_depth(path, args.depth_unit)
        focal = args.focal or NYUV2_FOCAL * depth.shape[1] / NYUV2_WIDTH
        normals = normals_from_depth(depth, focal, args.radius, args.tolerance)
        place = (out / path.relative_to(folder)).with_suffix('.npy' if args.npy else '.png')
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, normals) if args.npy else Image.fromarray(encode_normals(normals)).save(
            place
        )

    out.mkdir(parents=True, exist_ok=True)
    focal = args.focal or f'{NYUV2_FOCAL} x width / {NYUV2_WIDTH}'
    radius = args.radius or 'width / 24'
    (out / 'README.txt').write_text(
        NOTE.format(focal=focal, radius=radius, tolerance=args.tolerance)
    )
    track_progress(convert, paths)
    print(f'\npseudo-normals of {len(paths)} depth images in {out}')


if __name__ == '__main__':
    main()
