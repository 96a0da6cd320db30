"""Peak memory of one training step of the encoder, on a CPU, each method in a process of its own.

python benchmarks/memory.py --methods Frozen LST LoRA 'LoRA(blocks="last:4")' Full --arch base --size 1024
    kept: bytes that autograd keeps for the backward pass, weights not counted; peak: of the process, above what it held before
    the step.
"""
import argparse
import json
import resource
import subprocess
import sys

import torch

from mmsam_peft.apis.compare import parse_method
from mmsam_peft.models import SAMViT


def measure(method: str, arch: str, size: int, checkpointing: bool) -> dict[str, float]:
    torch.manual_seed(0)
    encoder = SAMViT(arch, size, peft=parse_method(method), unfreeze=['neck'], checkpointing=checkpointing).train()
    image, weights = torch.randn(1, 3, size, size), {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    before = peak()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = encoder(image)[0].square().mean() + sum(encoder.peft.aux_losses(encoder).values())
    loss.backward()
    return dict(kept=sum(kept.values()) / 1e6, peak=peak() - before)


def peak() -> float:
    """The largest size the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == 'darwin' else 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--methods', nargs='+', required=True, help='methods, or calls of methods')
    parser.add_argument('--arch', default='base')
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--checkpointing', action='store_true', help='activation checkpointing of every block')
    parser.add_argument('--one', action='store_true', help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.methods[0], args.arch, args.size, args.checkpointing)))
        return
    print('| method | kept for the backward pass, MB | peak, MB |\n|---|---|---|')
    for method in args.methods:
        command = [sys.executable, __file__, '--one', '--methods', method, '--arch', args.arch, '--size', str(args.size)]
        command += ['--checkpointing'] * args.checkpointing
        row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
        print(f'| `{method}` | {row["kept"]:,.0f} | {row["peak"]:,.0f} |', flush=True)


if __name__ == '__main__':
    main()
