"""A training iteration on a CPU without and with the feature cache, side by side in one process, on
noise pictures.

OMP_NUM_THREADS=1 python benchmarks/feature_cache.py --method Frozen --arch base --size 1024
    Random weights, the binary decoder, StructureLoss, AdamW; images and labels are loaded without
    workers, so that this counts in full. Seconds are of the processor, which other programs take
    nothing from. Iterations without and with the cache alternate; medians, and the ratio's least
    and most.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

import mmsam_peft  # noqa: F401
from mmsam_peft.engine.hooks import FeatureCacheHook
from mmsam_peft.peft.notation import parse_method

CONFIG = Path(__file__).parents[1] / 'configs/convlora/custom.py'


def draw(root: Path, number: int, size: int) -> None:
    """Noise with a disc, and its mask."""
    rows, cols = np.mgrid[:size, :size]
    for i in range(number):
        rng = np.random.default_rng(i)
        disc = (rows - rng.integers(size)) ** 2 + (cols - rng.integers(size)) ** 2 < (size / 4) ** 2
        image = rng.integers(0, 100, (size, size, 3)) + 150 * disc[..., None]
        for folder, pixels, suffix in (('img_dir', image, 'jpg'), ('ann_dir', disc * 255, 'png')):
            path = root / folder / 'train' / f'{i}.{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def build(root: Path, args: argparse.Namespace, name: str) -> Runner:
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        {
            'work_dir': str(root / 'work'),
            'experiment_name': name,
            'log_level': 'ERROR',
            'visualizer.vis_backends': [],
            'model.checkpoint': None,
            'model.backbone.arch': args.arch,
            'model.backbone.img_size': args.size,
            'model.backbone.peft': parse_method(args.method),
            'model.data_preprocessor.size': (args.size, args.size),
            'train_pipeline.2.scale': (args.size, args.size),
            'train_dataloader.dataset.data_root': str(root),
            'train_dataloader.batch_size': args.batch,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'randomness.seed': 0,
        }
    )
    cfg.train_dataloader.dataset.pipeline = cfg.train_pipeline
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = cfg.test_dataloader = (
        cfg.test_evaluator
    ) = cfg.test_cfg = None
    runner = Runner.from_cfg(cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.model.train()
    return runner


def batches(runner: Runner) -> Iterator[dict]:
    while True:
        yield from runner.train_dataloader


def iteration(runner: Runner, data: Iterator[dict]) -> float:
    begin = time.process_time()
    runner.model.train_step(next(data), runner.optim_wrapper)
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--method', default='Frozen', help='a method, or a call of one: \'LoRA(blocks="last:4")\''
    )
    parser.add_argument('--arch', default='base')
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--pairs', type=int, default=5)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        DefaultScope.overwrite_default_scope('mmsam_peft'),
    ):
        draw(Path(folder), 2 * args.batch, args.size)
        plain, cached = (build(Path(folder), args, name) for name in ('plain', 'cached'))
        hook = FeatureCacheHook(views=1, folder=f'{folder}/cache')
        hook.before_train(cached)
        plain_data, cached_data = batches(plain), batches(cached)
        first = [iteration(cached, cached_data) for _ in range(2)]  # all images
        iteration(plain, plain_data), iteration(cached, cached_data)  # warm-up
        pairs = [
            (iteration(plain, plain_data), iteration(cached, cached_data))
            for _ in range(args.pairs)
        ]
        ratios = [without / read for without, read in pairs]
        size = max(path.stat().st_size for path in Path(folder, 'cache').rglob('*'))
    print(
        '| method | without, s | storing, s | reading, s | times faster | MB a view '
        '|\n|---|---|---|---|---|---|'
    )
    print(
        f'| `{args.method}` | {statistics.median(pair[0] for pair in pairs):.2f} | '
        f'{statistics.median(first):.2f} | '
        f'{statistics.median(pair[1] for pair in pairs):.3f} | {statistics.median(ratios):.1f} '
        f'({min(ratios):.1f} to {max(ratios):.1f}) | {size / 1e6:.2f} |'
    )


if __name__ == '__main__':
    main()
