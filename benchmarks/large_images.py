"""Memory and time of a large, sparse image: what docs/large_images.md says.

python benchmarks/large_images.py FOLDER [--size 50000] [--classes 8]

The network is one convolution: measured is reading, adding up and writing.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
import torch.nn.functional as F
from affine import Affine
from mmengine.config import ConfigDict
from rasterio.windows import Window

from mmsam_peft.apis import init_model
from mmsam_peft.apis.large_images import predict_large


def draw(path: Path, size: int) -> None:
    """Squares of noise, and a strip across the image; all else is left out of the file."""
    rng, side = np.random.default_rng(0), size // 20
    reference = dict(crs='EPSG:32633', transform=Affine(0.3, 0, 5e5, 0, -0.3, 5.4e6))
    shape = dict(driver='GTiff', dtype='uint8', count=3, height=size, width=size, **reference)
    layout = dict(tiled=True, blockxsize=512, blockysize=512, compress='deflate', sparse_ok=True)
    with rasterio.open(path, 'w', **shape, **layout, bigtiff='IF_SAFER') as file:
        for _ in range(12):
            y, x = rng.integers(0, size - side, 2)
            tile = rng.integers(1, 255, (3, side // 50 + 1, side // 50 + 1))
            noise = np.kron(tile, np.ones((1, 50, 50)))[:, :side, :side].astype(np.uint8)
            file.write(noise, window=Window(x, y, side, side))
        file.write(np.full((3, 600, size), 90, np.uint8), window=Window(0, size // 2, size, 600))


def peak() -> int:
    """MiB."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith('VmHWM')).split()[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--size', type=int, default=50000)
    parser.add_argument('--classes', type=int, default=8)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    image = args.folder / f'sparse_{args.size}.tif'
    if not image.exists():
        draw(image, args.size)
    model, number = init_model('configs/lora/quickstart.py', device='cpu'), args.classes
    model.test_cfg = ConfigDict(mode='slide', crop_size=(1024, 1024), stride=(682, 682))
    model.cfg.test_pipeline = [one for one in model.cfg.test_pipeline if 'Resize' not in one.type]
    kernel = torch.randn(number, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    model.out_channels = number
    model.encode_decode = lambda images, metas: F.conv2d(images, kernel, padding=2)
    model.dataset_meta = dict(classes=list(map(str, range(number))), palette=None)
    began, used = time.time(), time.process_time()
    out = args.folder / f'{number}_classes'
    mask = predict_large(model, image, out, overwrite=True)
    seconds = f'{time.time() - began:.0f} s, {time.process_time() - used:.0f} s of processor time'
    print(f'{mask}: {seconds}, at most {peak()} MiB')
    began = time.time()
    predict_large(model, image, out, polygons='gpkg', min_area=2000)
    print(f'polygons: {time.time() - began:.0f} s, at most {peak()} MiB')


if __name__ == '__main__':
    main()
