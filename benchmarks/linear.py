"""What a low-rank update adds to the frozen qkv of a block, forward and backward, at the size of
SAM ViT-B at 1024 x 1024.

OMP_NUM_THREADS=1 python benchmarks/linear.py --rounds 9
    Layers take turns; ratios are to the frozen layer in the same round (for three tasks: on as many
    tokens), of processor time on a CPU: median, least and greatest. 'plain' is the usual form, with
    the update as a product of its own, scaled and added.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from mmsam_peft.analysis.candidates import PlainLoRALinear
from mmsam_peft.analysis.machine import clock, median_and_range, write_measured
from mmsam_peft.peft import specialise_in_place
from mmsam_peft.peft.conv_lora import ConvLoRALinear
from mmsam_peft.peft.dora import DoRALinear
from mmsam_peft.peft.lora import LoRALinear
from mmsam_peft.peft.ta_lora import TALoRALinear
from mmsam_peft.peft.task_lora import TaskLoRALinear

BASE = nn.Linear(768, 2304).requires_grad_(False)
LAYERS = {
    'plain LoRA, rank 3': specialise_in_place(LoRALinear(BASE, 3, 32), PlainLoRALinear),
    'LoRA, rank 3': LoRALinear(BASE, 3, 32),
    'LoRA, rank 8': LoRALinear(BASE, 8, 32),
    'DoRA, rank 3': DoRALinear(BASE, 3, 32),
    'Conv-LoRA, rank 3, 8 experts': ConvLoRALinear(BASE, 3, 32, 8, False),
}
TASKS = {
    'a LoRA per task, rank 4': TaskLoRALinear(BASE, 3, 4, 32, 0),
    'TA-LoRA, ranks 32, 32, 4': TALoRALinear(BASE, 3, (32, 32, 4), 0.5, 0),
    'TA-LoRA, dropout 0.1': TALoRALinear(BASE, 3, (32, 32, 4), 0.5, 0.1),
}


def seconds(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> float:
    start = clock(x.device.type)
    layer(x).backward(gradient)
    x.grad = None
    layer.zero_grad()
    return clock(x.device.type) - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    shapes = {
        '25 windows of 14 x 14': (LAYERS, (25, 14, 14)),
        'a map of 64 x 64': (LAYERS, (1, 64, 64)),
        'three maps of 64 x 64': (TASKS, (3, 64, 64)),
    }
    rows = []
    print('| | layer | ratio to the frozen layer |\n|---|---|---:|')
    for name, (layers, shape) in shapes.items():
        x = torch.randn(*shape, 768, device=args.device, requires_grad=True)
        gradient = torch.randn(*shape, 2304, device=args.device)
        layers = [layer.to(args.device) for layer in (BASE, *layers.values())]
        rounds = [
            [seconds(layer, x, gradient) for layer in layers] for _ in range(args.rounds + 1)
        ][1:]
        for number, layer in enumerate(shapes[name][0], 1):
            ratios = median_and_range([one[number] / one[0] for one in rounds])
            rows.append(dict(tokens=name, layer=layer, ratio=ratios))
            print(
                f'| {name} | {layer} |', '{:.2f} ({:.2f} to {:.2f}) |'.format(*ratios), flush=True
            )
    if args.json:
        write_measured(args.json, args.device, rows)


if __name__ == '__main__':
    main()
