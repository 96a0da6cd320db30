"""A training step of the encoder, and of segment-anything's own with the same adapters, on a CPU: one image, both passes.

OMP_NUM_THREADS=1 python benchmarks/encoder.py --arch base --size 1024 --pairs 3
    seconds: of the processor, which neighbours on the machine disturb least, of both sides in turn in one process; peak: of a
    process of each side's own, weights and all.
"""
import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from memory import peak
from torch import nn

from mmsam_peft.apis.compare import parse_method
from mmsam_peft.models import SAMViT
from mmsam_peft.models.backbones.sam_vit import ARCHS
from mmsam_peft.peft import apply_peft, build_method


def step(side: str, args: argparse.Namespace) -> Callable[[], float]:
    """A training step of one side; it returns the seconds it took."""
    torch.manual_seed(0)
    method = parse_method(args.method)
    if side == 'ours':
        encoder = SAMViT(args.arch, args.size, peft=method, unfreeze=['neck'])
    else:
        from segment_anything.modeling import ImageEncoderViT  # importable once mmsam_peft is
        encoder = ImageEncoderViT(args.size, out_chans=256, norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True,
                                  window_size=14, **ARCHS[args.arch])
        apply_peft(encoder, build_method(method), ['neck'])
    encoder.train()
    image = torch.randn(1, 3, args.size, args.size)

    def run() -> float:
        start = time.process_time()
        y = encoder(image)
        (y if side == 'theirs' else y[0]).square().mean().backward()
        return time.process_time() - start
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='base', choices=ARCHS)
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--method', default='LoRA', help='a method, or call of a method')
    parser.add_argument('--pairs', type=int, default=3)
    parser.add_argument('--one', help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.one:
        step(args.one, args)()
        print(peak())
        return
    sides = ('ours', 'theirs')
    command = [sys.executable, *sys.argv, '--one']
    peaks = [float(subprocess.run([*command, side], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
             for side in sides]
    steps = [step(side, args) for side in sides]
    seconds = [[run() for run in steps] for _ in range(args.pairs)]
    ratios = sorted(ours / theirs for ours, theirs in seconds)
    medians = [statistics.median(column) for column in zip(*seconds, strict=True)]
    print('| | ours | segment-anything | ratio |\n|---|---|---|---|')
    spread = f'{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})'
    print(f'| seconds | {medians[0]:.1f} | {medians[1]:.1f} | {spread} |')
    print(f'| peak, MB | {peaks[0]:,.0f} | {peaks[1]:,.0f} | {peaks[0] / peaks[1]:.2f} |')


if __name__ == '__main__':
    main()
