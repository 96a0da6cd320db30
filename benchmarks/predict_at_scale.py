"""What prediction at scale costs on this machine: images a second of one process and of two,
start-up, bytes, and the time to find out what is left of a million images.

OMP_NUM_THREADS=1 python benchmarks/predict_at_scale.py --images FOLDER
OMP_NUM_THREADS=1 python benchmarks/predict_at_scale.py --images FOLDER --most 6 --arch base
python benchmarks/predict_at_scale.py --masks FOLDER...
python benchmarks/predict_at_scale.py --million
    Weights are random: the quickstart's encoder, or SAM's of an arch. One process and two take
    turns; seconds are the clock's, and processor seconds those of one process without its start-up.
    --masks gives the mean bytes of true masks, written as predictions are; --million what naming a
    million images and reading their manifest take.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

import numpy as np
import torch
from PIL import Image

from mmsam_peft.analysis.machine import machine, peak_resident
from mmsam_peft.apis import init_model, save_adapter
from mmsam_peft.apis.at_scale.job import Job, Settings
from mmsam_peft.apis.at_scale.manifest import PLACE, ROWS, read_rows
from mmsam_peft.apis.at_scale.stores import Folder
from mmsam_peft.apis.configs import read_config
from mmsam_peft.apis.overrides import apply_overrides
from mmsam_peft.models.backbones import SAMViT
from mmsam_peft.visualization.masks import write_mask
from mmsam_peft.visualization.names import output_names

ROOT = Path(__file__).parents[1]
MILLION = 1_000_000


def adapter(place: Path, arch: str | None, size: int) -> tuple[str, str | None]:
    """An untrained adapter of LoRA and its base weights."""
    config, options, base = 'quickstart.py', {}, None
    if arch:
        base = str(place / 'base.pth')
        state = SAMViT(arch, img_size=size).state_dict()
        torch.save({f'image_encoder.{key}': value for key, value in state.items()}, base)
        config, options = 'kvasir.py', dict(image_size=size)
        options |= {'model.checkpoint': base, 'model.backbone.arch': arch}
    cfg = read_config(ROOT / 'configs/lora' / config)
    apply_overrides(cfg, options)
    model = init_model(cfg, device='cpu')
    save_adapter(model, place / 'adapter.safetensors', model.dataset_meta)
    return str(place / 'adapter.safetensors'), base


def job_figures(processes: int, weights: str, base: str | None, images: str, out: Path) -> dict:
    """Seconds of the whole command, by the clock and of processors, and images a second between its
    first image and its last."""
    start, before = time.time(), getrusage(RUSAGE_CHILDREN)
    command = ['torchrun', '--standalone', f'--nproc_per_node={processes}']
    if processes == 1:
        command = [sys.executable]
    options = ['--checkpoint', base] if base else []
    place = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    done = subprocess.run(
        [*command, ROOT / 'tools/predict_many.py', weights, images, out, '--overlays', *options],
        env={**os.environ, 'PATH': place},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    seconds, after = time.time() - start, getrusage(RUSAGE_CHILDREN)
    at = sorted(row.at for row in read_rows(Folder(out)).values())
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rate = (len(at) - processes) / (at[-1] - at[0])
    return dict(processes=processes, seconds=seconds, processor_seconds=used, images_a_second=rate)


def processor_seconds(weights: str, base: str | None, images: str, out: Path) -> float:
    """Of an image, in one process: reading, computing, writing masks and overlays."""
    settings = Settings(weights, checkpoint=base, device='cpu', overlays=True)
    job = Job(settings.model(), settings, images, str(out))
    rows = job.run(job.left())
    next(rows)
    start = time.process_time()
    number = sum(1 for _ in rows)
    return (time.process_time() - start) / number


def bytes_of(folder: Path) -> float:
    sizes = [path.stat().st_size for path in folder.rglob('*') if path.is_file()]
    return sum(sizes) / len(sizes)


def bytes_of_masks(folder: Path, place: Path) -> dict:
    """Of masks of class numbers, as they would be predicted."""
    sizes, pixels = [], []
    for path in sorted(folder.iterdir()):
        mask = torch.from_numpy(np.array(Image.open(path)))
        write_mask(mask[None], None, place / 'mask.png')
        sizes.append((place / 'mask.png').stat().st_size)
        pixels.append(mask.numel())
    bits = 8 * sum(sizes) / sum(pixels)
    return dict(masks=len(sizes), bytes=sum(sizes) / len(sizes), bits_per_pixel=bits)


def to_go_on(place: Path) -> dict:
    """Processor seconds and memory to name a million images, and to read their manifest."""
    (place / PLACE).mkdir(parents=True)
    paths = [Path(f'/in/folder_{i // ROWS:04d}/image_{i % ROWS:06d}.jpg') for i in range(MILLION)]
    start = time.process_time()
    names = output_names(paths, '/in')
    named = time.process_time() - start
    assert len(set(names.values())) == MILLION
    row = ['', '', 'done', 0.08213392299512634, '', '15842 1795691626894194688', 1795694496.0377605]
    for part in range(MILLION // ROWS):
        lines = [json.dumps(dict(made_by='x' * 64))]
        for number in range(ROWS):
            row[0] = row[1] = f'folder_{part:04d}/image_{number:06d}.jpg'
            lines.append(json.dumps(row))
        (place / PLACE / f'{part:05d}-x-00000.jsonl').write_text('\n'.join(lines) + '\n')
    size = sum(path.stat().st_size for path in (place / PLACE).iterdir())
    start = time.process_time()
    assert len(read_rows(Folder(place))) == MILLION
    read = time.process_time() - start
    return dict(
        seconds_to_name=named,
        seconds_to_read=read,
        bytes_of_manifest=size,
        peak_bytes=peak_resident(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument('--images', help='a folder of images')
    given.add_argument('--million', action='store_true', help='only what so many rows take')
    given.add_argument('--masks', type=Path, nargs='+', help='folders of masks, PNG')
    parser.add_argument('--most', type=int, default=200, help='of them (default: %(default)s)')
    parser.add_argument('--arch', help="of SAM's (default: the quickstart's encoder)")
    parser.add_argument('--size', type=int, default=1024, help='with --arch (default: %(default)s)')
    parser.add_argument('--pairs', type=int, default=3, help='default: %(default)s')
    parser.add_argument('--out', type=Path, help='a JSON file for the figures')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if args.masks:
            for masks in args.masks:
                print(f'{masks}: {bytes_of_masks(masks, place)}')
            return
        if args.million:
            print(json.dumps(to_go_on(place / 'million'), indent=1))
            return
        images = place / 'images'
        images.mkdir()
        for path in islice(sorted(Path(args.images).iterdir()), args.most):
            shutil.copy(path, images)
        weights, base = adapter(place, args.arch, args.size)
        figures = dict(
            machine=machine('cpu'),
            images=len(list(images.iterdir())),
            arch=args.arch or 'quickstart',
            processor_seconds=processor_seconds(weights, base, str(images), place / 'own'),
            bytes_of_overlay=bytes_of(place / 'own/overlays'),
        )
        pairs = []
        for number in range(args.pairs):
            pairs.append(
                [
                    job_figures(
                        processes, weights, base, str(images), place / f'{number}{processes}'
                    )
                    for processes in (1, 2)
                ]
            )
        figures['pairs'] = pairs
        ratios = sorted(two['images_a_second'] / one['images_a_second'] for one, two in pairs)
        if ratios:
            figures['two_of_one'] = dict(median=median(ratios), least=ratios[0], most=ratios[-1])
    text = json.dumps(figures, indent=1)
    print(text)
    if args.out:
        args.out.write_text(f'{text}\n')


if __name__ == '__main__':
    main()
