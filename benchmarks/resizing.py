"""How far images that shrink without antialiasing are from those that shrink with it, in grey
levels.

python benchmarks/resizing.py 'DATA/leaf/img_dir/val/*.jpg' --size 128
python benchmarks/resizing.py 'DATA/leaf/img_dir/val/*.jpg' --size 1024 --from-size 2000 3000
    --from-size HEIGHT WIDTH enlarges the images before, with noise of a camera's size, where large
    originals are not at hand.
"""

import argparse
import glob

import numpy as np
from PIL import Image

from mmsam_peft.datasets.transforms.resize import resize_image

NOISE = 4
"""Deviation of the noise of enlarged images, in grey levels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('images', help='a pattern of files')
    parser.add_argument('--size', type=int, required=True)
    parser.add_argument('--from-size', type=int, nargs=2)
    parser.add_argument('--most', type=int, default=50)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    means, tops = [], []
    for path in sorted(glob.glob(args.images))[: args.most]:
        image = np.asarray(Image.open(path).convert('RGB'))
        if args.from_size:
            large = resize_image(image, tuple(args.from_size), 'bicubic').astype(np.float32)
            image = np.clip(large + rng.normal(0, NOISE, large.shape), 0, 255).astype(np.uint8)
        one, other = (
            resize_image(image, (args.size, args.size), 'bicubic', antialias).astype(float)
            for antialias in (True, False)
        )
        off = np.abs(one - other)
        means.append(off.mean())
        tops.append(np.quantile(off, 0.99))
    print(
        f'{len(means)} images: {np.mean(means):.2f} grey levels on average '
        f'({np.min(means):.2f} to {np.max(means):.2f}); one pixel in a hundred is off by '
        f'{np.mean(tops):.1f} or more'
    )


if __name__ == '__main__':
    main()
