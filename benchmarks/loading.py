"""How many images a second the loader of one core gives, beside the time of a training step, and
where the time goes.

python benchmarks/loading.py --step 2.0 --json benchmarks/results/loading_1024.json
    ISIC-like photos of 3000 x 2000 pixels, drawn; --step: seconds of a step for each image,
    measured by benchmarks/train_step.py
python benchmarks/loading.py --images DATA/kvasir/img_dir/val --masks DATA/kvasir/ann_dir/val
python benchmarks/loading.py --against OTHER
    runs alternately with the package that lies in the folder OTHER, an earlier version
python benchmarks/loading.py --decoding
    the ways to a smaller image: time, and distance from a full image resized by Pillow
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from PIL import Image

SIZE = (3000, 2000)
ROOT = Path(__file__).parents[1]


def draw(folder: Path, number: int, size: tuple[int, int] = SIZE) -> None:
    """Photos of a dark spot on skin, with structures of every size (amplitude 1/f), a camera's
    noise after smoothing, in JPEGs of 4:2:0 and quality 92; and their masks, 0 and 255."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(down, across), 1 / max(size))
    for i in range(number):
        rng = np.random.default_rng(i)

        def structure(rng=rng) -> np.ndarray:
            phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
            made = np.fft.irfft2(amplitude * phase, (height, width))
            return made / made.std()

        angle, far = (
            np.arctan2(y - height / 2, x - width / 2),
            np.hypot(y - height / 2, x - width / 2),
        )
        spot = far < height * (0.25 + 0.03 * np.sin(5 * angle) + 0.01 * np.sin(23 * angle))
        light, noise = structure(), rng.normal(0, 3, (height, width, 3)).astype(np.float32)
        image = np.stack([20 * light + 4 * structure() + base for base in (190, 150, 130)], 2)
        image = np.where(spot[..., None], 0.5 * image, image) + cv2.GaussianBlur(noise, (0, 0), 0.8)
        image = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        image.save(folder / f'{i}.jpg', quality=92)
        Image.fromarray(255 * spot.astype(np.uint8)).save(folder / f'{i}.png')


def samples(images: Path, masks: Path, values: str) -> list[dict]:
    found = sorted(path for path in images.iterdir() if path.suffix == '.jpg')
    return [
        dict(
            img_path=str(path),
            seg_map_path=str(masks / f'{path.stem}.png'),
            mask_values=values,
            reduce_zero_label=False,
            label_map=None,
            seg_fields=[],
        )
        for path in found
    ]


def timed(pipeline, given: list[dict]) -> dict[str, float]:
    """Processor milliseconds of each step, the median of all images; and of all steps."""
    taken: dict[str, list[float]] = {}
    for sample in given:
        results, whole = dict(sample, seg_fields=[]), time.process_time()
        for step in pipeline.transforms:
            start = time.process_time()
            results = step(results)
            taken.setdefault(type(step).__name__, []).append(time.process_time() - start)
        taken.setdefault('all', []).append(time.process_time() - whole)
    return {name: round(1000 * median(one), 1) for name, one in taken.items()}


def measure(args: argparse.Namespace, folder: Path) -> dict:
    """With the package that Python finds first."""
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope

    import mmsam_peft.datasets  # noqa: F401

    init_default_scope('mmsam_peft')
    side = (args.size, args.size)
    resize = dict(type='Resize', scale=side, keep_ratio=False, interpolation='bicubic')
    kinds = ('LoadImageFromFile', 'LoadMask', resize, 'RandomFlip', 'PackSegInputs')
    steps = [one if isinstance(one, dict) else dict(type=one) for one in kinds]
    steps[3].update(prob=0.5, direction='horizontal')
    pipeline = Compose(steps)
    given = samples(args.images or folder, args.masks or folder, args.mask_values)[: args.most]
    timed(pipeline, given[:1])
    found = dict(pipeline=timed(pipeline, given))
    try:
        from mmsam_peft.datasets.image_cache import ImageStore, StoredImages
    except ImportError:  # an earlier version
        return found
    stored = StoredImages(pipeline, ImageStore(folder / 'stored', 1e12))
    for sample in given:
        stored(dict(sample, seg_fields=[]))
    taken = []
    for sample in given:
        start = time.process_time()
        stored(dict(sample, seg_fields=[]))
        taken.append(time.process_time() - start)
    return dict(found, stored=round(1000 * median(taken), 1))


def alternating(args: argparse.Namespace, folder: Path) -> dict:
    """The median of several runs of ours and of the other version, each in a process of its own."""
    sides = dict(this=ROOT, **(dict(other=args.against) if args.against else {}))
    runs: dict[str, list[dict]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, place in sides.items():
            command = [sys.executable, '-W', 'ignore', __file__, '--worker', str(folder)]
            command += ['--size', str(args.size), '--most', str(args.most)]
            command += ['--mask-values', args.mask_values]
            for key in ('images', 'masks'):
                if given := getattr(args, key):
                    command += [f'--{key}', str(given)]
            done = subprocess.run(
                command, cwd=place, env=worker_env(place), capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    return {name: _median(several) for name, several in runs.items()}


def worker_env(place: Path) -> dict:
    import os

    return {**os.environ, 'PYTHONPATH': str(place), 'OMP_NUM_THREADS': '1'}


def _median(runs: list[dict]) -> dict:
    steps = {
        name: round(median(one['pipeline'][name] for one in runs), 1)
        for name in runs[0]['pipeline']
    }
    found = dict(pipeline=steps, all_runs=[one['pipeline']['all'] for one in runs])
    if 'stored' in runs[0]:
        found['stored'] = round(median(one['stored'] for one in runs), 1)
    return found


def decoding(folder: Path, size: int) -> list[dict]:
    """Ways from a JPEG to ``size`` x ``size`` pixels."""
    content, rows = (folder / '0.jpg').read_bytes(), []
    expected = np.asarray(Image.open(io.BytesIO(content)).resize((size, size), Image.BICUBIC))

    def reduced(by: int) -> np.ndarray:
        image = Image.open(io.BytesIO(content))
        width, height = image.size
        image.draft(None, (width // by, height // by))
        box = (0, 0, width / by, height / by)
        return np.asarray(image.resize((size, size), Image.BICUBIC, box=box))

    def ours() -> np.ndarray:
        from mmsam_peft.datasets.image_files import read_image
        from mmsam_peft.datasets.transforms.resize import resize_image

        return resize_image(read_image(content), (size, size), 'bicubic')[..., ::-1]

    ways = {'whole, Pillow': lambda: reduced(1), 'whole, ours': ours}
    ways |= {f'1/{by} of the size, Pillow': lambda by=by: reduced(by) for by in (2, 4)}
    for name, way in ways.items():
        taken = []
        for _ in range(5):
            start = time.process_time()
            made = way()
            taken.append(time.process_time() - start)
        off = np.abs(made.astype(int) - expected)
        rows.append(
            dict(
                way=name,
                ms=round(1000 * median(taken), 1),
                mean_off=round(float(off.mean()), 4),
                most_off=int(off.max()),
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=int, default=1024, help='of the network')
    parser.add_argument('--images', type=Path, help='a folder of *.jpg; by default drawn ones')
    parser.add_argument('--masks', type=Path, help='a folder of *.png of the same names')
    parser.add_argument('--mask-values', default='binary255')
    parser.add_argument('--most', type=int, default=6, help='images')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--against', type=Path, help='the folder of another version')
    parser.add_argument('--step', type=float, help='seconds of a training step for each image')
    parser.add_argument('--decoding', action='store_true', help='compare ways to a smaller image')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--worker', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if args.worker:
        print(json.dumps(measure(args, args.worker)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if not args.images:
            draw(folder, 1 if args.decoding else args.most)
            sizes = [path.stat().st_size for path in folder.glob('*.jpg')]
            print(f'{len(sizes)} photos of {SIZE[0]} x {SIZE[1]}, {np.mean(sizes) / 1e6:.1f} MB')
        found = dict(size=args.size, machine=torch.backends.cpu.get_cpu_capability())
        if args.decoding:
            found['ways'] = decoding(folder, args.size)
            for row in found['ways']:
                print(row)
        else:
            found.update(alternating(args, folder))
            for name in ('this', 'other'):
                if name in found:
                    report(name, found[name], args.step)
            if 'other' in found:
                ratio = found['other']['pipeline']['all'] / found['this']['pipeline']['all']
                found['times_as_fast'] = round(ratio, 2)
                print(f'{ratio:.2f} times as fast as the other version')
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + '\n')


def report(name: str, found: dict, step: float | None) -> None:
    taken = found['pipeline']['all']
    print(f'{name}: {found["pipeline"]} ms; {1000 / taken:.1f} images/s of a core')
    if 'stored' in found:
        print(f'  stored: {found["stored"]} ms, {1000 / found["stored"]:.1f} images/s of a core')
    if step:
        print(f'  a step computes {1 / step:.1f} images/s: {taken / 1000 / step:.2f} workers do')


if __name__ == '__main__':
    main()
