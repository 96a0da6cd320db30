"""Memory and time of large images: what docs/large_images.md says.

OMP_NUM_THREADS=1 python benchmarks/large_images.py FOLDER
    50,000 x 50,000 pixels, sparse; the network is one convolution: measured is reading, adding up,
    writing, and the polygons.
OMP_NUM_THREADS=1 python benchmarks/large_images.py FOLDER --arch base --height 1706 --computed 3
    SAM's encoder with LoRA, random weights, 12 classes, on an image that has values everywhere and
    is two rows of windows high: no further row needs more memory. It computes three windows, and
    the others are given its last answer: all else is done for them, and time means nothing.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import torch
import torch.nn.functional as F
from affine import Affine
from mmengine.config import ConfigDict
from pyogrio import read_info
from rasterio.windows import Window
from torch import nn

from mmsam_peft.analysis.machine import forget_peak, machine, peak_resident
from mmsam_peft.apis import init_model
from mmsam_peft.apis.configs import read_config
from mmsam_peft.apis.large_images import Settings, predict_large
from mmsam_peft.apis.large_images.opening import open_large
from mmsam_peft.apis.large_images.polygons import write_polygons
from mmsam_peft.apis.large_images.windows import Windows
from mmsam_peft.apis.overrides import apply_overrides
from mmsam_peft.models.backbones import SAMViT

ROOT = Path(__file__).parents[1]
SIDE, STRIDE = 1024, 682


def draw(path: Path, height: int, width: int, sparse: bool) -> None:
    """Coarse noise: everywhere, or in twelve squares and a strip across, with all else left out of
    the file."""
    rng, side = np.random.default_rng(0), width // 20
    reference = dict(crs='EPSG:32633', transform=Affine(0.3, 0, 5e5, 0, -0.3, 5.4e6))
    shape = dict(driver='GTiff', dtype='uint8', count=3, height=height, width=width, **reference)
    layout = dict(tiled=True, blockxsize=512, blockysize=512, compress='deflate', sparse_ok=True)
    with rasterio.open(path, 'w', **shape, **layout, bigtiff='IF_SAFER') as file:
        if not sparse:
            for top in range(0, height, 512):
                rows = min(512, height - top)
                file.write(_noise(rng, rows, width), window=Window(0, top, width, rows))
            return
        for _ in range(12):
            y, x = rng.integers(0, height - side), rng.integers(0, width - side)
            file.write(_noise(rng, side, side), window=Window(x, y, side, side))
        strip = np.full((3, 600, width), 90, np.uint8)
        file.write(strip, window=Window(0, height // 2, width, 600))


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    tile = rng.integers(1, 255, (3, height // 50 + 1, width // 50 + 1), dtype=np.uint8)
    return tile.repeat(50, 1).repeat(50, 2)[:, :height, :width]


def one_convolution(number: int) -> nn.Module:
    model = init_model('configs/lora/quickstart.py', device='cpu')
    model.test_cfg = ConfigDict(mode='slide', crop_size=(SIDE, SIDE), stride=(STRIDE, STRIDE))
    model.cfg.test_pipeline = [one for one in model.cfg.test_pipeline if 'Resize' not in one.type]
    kernel = torch.randn(number, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    model.out_channels = number
    model.encode_decode = lambda images, metas: F.conv2d(images, kernel, padding=2)
    model.dataset_meta = dict(classes=list(map(str, range(number))), palette=None)
    return model


def of_sam(arch: str, folder: Path, computed: int | None) -> nn.Module:
    base = folder / f'{arch}.pth'
    if not base.exists():
        state = SAMViT(arch, img_size=SIDE).state_dict()
        torch.save({f'image_encoder.{key}': value for key, value in state.items()}, base)
    cfg = read_config(ROOT / 'configs/lora/trans10k.py')
    options = {'model.checkpoint': str(base), 'model.backbone.arch': arch, 'image_size': SIDE}
    apply_overrides(cfg, options)
    model = init_model(cfg, device='cpu')
    network, answers = model.encode_decode, []

    def answer(images: torch.Tensor, metas: list) -> torch.Tensor:
        if computed is None or len(answers) < computed:
            answers.append(network(images, metas))
            answers[:-1] = [None] * len(answers[:-1])
        return answers[-1]

    model.encode_decode = answer
    return model


def measured(run: Callable[[], object]) -> dict[str, float]:
    """Seconds by the clock and of processors; the most MiB of the whole process, GDAL's tiles and
    the weights among them."""
    forget_peak()
    began, used = time.time(), time.process_time()
    run()
    seconds, processor = time.time() - began, time.process_time() - used
    most = round(peak_resident() / 2**20)
    return dict(seconds=round(seconds), processor_seconds=round(processor), peak_mib=most)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='for image, mask and polygons')
    parser.add_argument('--width', type=int, default=50000, help='default: %(default)s')
    parser.add_argument('--height', type=int, help='default: the width')
    parser.add_argument('--classes', type=int, default=8, help='of the convolution')
    parser.add_argument('--arch', help="of SAM's, in place of the convolution")
    parser.add_argument('--computed', type=int, help='windows (default: all)')
    parser.add_argument(
        '--keep', action='store_true', help='the mask that is there: measure the polygons alone'
    )
    parser.add_argument('--out', type=Path, help='a JSON file for the figures')
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    height, kind = args.height or args.width, 'full' if args.arch else 'sparse'
    image = args.folder / f'{kind}_{height}_{args.width}.tif'
    if not image.exists():
        draw(image, height, args.width, sparse=not args.arch)
    model = (
        of_sam(args.arch, args.folder, args.computed)
        if args.arch
        else one_convolution(args.classes)
    )
    settings = Settings(SIDE, STRIDE)
    source = open_large(image)
    windows = Windows(model, source, SIDE, STRIDE).number
    cache = source.cache(SIDE)  # as in predict_large
    source.close()
    out = args.folder / (args.arch or f'{args.classes}_classes')
    figures = dict(machine=machine('cpu'), pixels=[height, args.width], windows=windows)
    figures['classes'] = len(model.dataset_meta['classes'])
    if not args.keep:
        figures['mask'] = measured(
            lambda: predict_large(model, image, out, settings, overwrite=True)
        )
    mask, polygons = out / image.name, out / f'{image.stem}.gpkg'
    for least in (2000, 0):
        name = f'polygons of {least} pixels or more'
        with rasterio.Env(GDAL_CACHEMAX=cache):
            figures[name] = measured(
                lambda least=least: write_polygons(
                    mask, polygons, 'gpkg', model.dataset_meta['classes'], 0, least
                )
            )
        figures[name]['number'] = read_info(polygons)['features']
        keep(figures, args.out)


def keep(figures: dict, out: Path | None) -> None:
    text = json.dumps(figures, indent=1)
    print(text, flush=True)
    if out:
        out.write_text(f'{text}\n')


if __name__ == '__main__':
    main()
