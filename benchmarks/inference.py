"""What an adapter costs at prediction: the encoder's forward pass against plain SAM's, alternating
in one process; and what switching between the adapters of a bank costs; and what bfloat16, compiled
blocks and batches save.

python benchmarks/inference.py --methods LoRA 'LoRA(merge)' TALoRA 'TALoRA(merge)' --size 512
python benchmarks/inference.py --bank --ways --arch base --size 1024
    Weights are random. Ratios are medians over the pairs, with the least and the greatest; on a CPU
    of processor time, which other programs on the machine disturb less.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from mmengine.config import Config
from torch import nn

from mmsam_peft.analysis.machine import clock, median_and_range, write_measured
from mmsam_peft.apis import AdapterBank, init_model, save_adapter
from mmsam_peft.apis.launch import load_config
from mmsam_peft.peft.notation import parse_method

CONFIG = Path(__file__).parents[1] / 'configs/convlora/custom.py'


def config(peft: dict, arch: str, size: int, checkpoint: str | None = None) -> Config:
    cfg = load_config(str(CONFIG), dict(image_size=size))
    cfg.model.checkpoint, cfg.model.backbone.peft = checkpoint, peft
    cfg.model.backbone.arch = arch
    return cfg


def encoder(method: str, arch: str, size: int, device: str) -> nn.Module:
    """``METHOD(merge)`` is the merged one."""
    merge = method.endswith('(merge)')
    return init_model(
        config(parse_method(method.removesuffix('(merge)')), arch, size), device=device, merge=merge
    ).backbone


@torch.no_grad()
def seconds(model: nn.Module, image: torch.Tensor) -> float:
    start = clock(image.device.type)
    model(image)
    return clock(image.device.type) - start


def cells(ratios: list[float]) -> str:
    return ' | '.join(f'{ratio:.3f}' for ratio in median_and_range(ratios))


def compare(methods: list[str], arch: str, size: int, pairs: int, device: str) -> Iterator[dict]:
    image, plain = (
        torch.randn(1, 3, size, size, device=device),
        encoder('Frozen', arch, size, device),
    )
    print('| method | time, of plain SAM | least | greatest |\n|---|---|---|---|')
    for method in methods:
        model, ratios = encoder(method, arch, size, device), []
        seconds(plain, image), seconds(model, image)
        for pair in range(pairs):
            order = (plain, model) if pair % 2 else (model, plain)
            times = {one: seconds(one, image) for one in order}
            ratios.append(times[model] / times[plain])
        print(f'| `{method}` | {cells(ratios)} |', flush=True)
        yield dict(method=method, ratio=median_and_range(ratios))


def ways(arch: str, size: int, pairs: int, device: str) -> Iterator[dict]:
    """Of a merged encoder, time per image against float32, blocks as they are, one image at a
    time."""
    image, plain = (
        torch.randn(1, 3, size, size, device=device),
        encoder('LoRA(merge)', arch, size, device),
    )
    compiled, batch = encoder('LoRA(merge)', arch, size, device), image.repeat(4, 1, 1, 1)
    for block in compiled.blocks:
        block.compile()
    print('| way | time per image | least | greatest |\n|---|---|---|---|')
    for name, model, images, dtype in (
        ('bfloat16', plain, image, torch.bfloat16),
        ('compiled', compiled, image, None),
        ('compiled, bfloat16', compiled, image, torch.bfloat16),
        ('batches of 4', plain, batch, None),
    ):
        ratios = []
        for _ in range(pairs + 1):
            with torch.autocast(image.device.type, dtype, enabled=dtype is not None):
                way = seconds(model, images) / len(images)
            ratios.append(way / seconds(plain, image))
        print(f'| {name} | {cells(ratios[1:])} |', flush=True)
        yield dict(way=name, ratio=median_and_range(ratios[1:]))


def switch(arch: str, size: int, device: str) -> Iterator[dict]:
    """An adapter of LoRA with rank 4 and a mask decoder, under two names."""
    with tempfile.TemporaryDirectory() as folder:
        base, adapter = Path(folder, 'base.pth'), Path(folder, 'adapter.safetensors')
        peft = dict(type='LoRA', rank=4)
        model = init_model(config(peft, arch, size), device='cpu')
        torch.save(
            {
                f'image_encoder.{name}': value
                for name, value in model.backbone.state_dict().items()
                if name not in model.backbone.peft.added
            },
            base,
        )
        save_adapter(model, adapter)
        del model
        cfg = config(peft, arch, size, str(base))
        start = time.perf_counter()
        bank = AdapterBank(cfg, dict(a=adapter), device)
        first = time.perf_counter()
        bank.add('b', adapter)
        second = time.perf_counter()
        for name in 'ab' * 5000:
            bank[name]
        each = (time.perf_counter() - second) / 10000
        image = torch.randn(1, 3, size, size, device=device)
        seconds(bank['a'].backbone, image)
        same, other = [], []
        for _ in range(5):
            same.append(seconds(bank['a'].backbone, image))
            other.append(seconds(bank['b'].backbone, image))
            seconds(bank['a'].backbone, image)
        ratio = median(after / before for before, after in zip(same, other, strict=True))
        print(
            f'adapter file {adapter.stat().st_size / 1e6:.1f} MB; read in {first - start:.1f} s '
            'with the base, the next in '
            f'{second - first:.1f} s; switching {1e6 * each:.2f} us; forward pass after a switch / '
            f'without {ratio:.3f}'
        )
        yield dict(
            megabytes=adapter.stat().st_size / 1e6, read=second - first, switch=each, ratio=ratio
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        default=[],
        help='methods, or calls of methods; METHOD(merge): merged',
    )
    parser.add_argument('--bank', action='store_true', help='measure switching between adapters')
    parser.add_argument(
        '--ways', action='store_true', help='measure bfloat16, compiled blocks and batches'
    )
    parser.add_argument('--arch', default='base')
    parser.add_argument('--size', type=int, default=1024)
    parser.add_argument('--pairs', type=int, default=7)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    rows = []
    if args.methods:
        rows += compare(args.methods, args.arch, args.size, args.pairs, args.device)
    if args.ways:
        rows += ways(args.arch, args.size, args.pairs, args.device)
    if args.bank:
        rows += switch(args.arch, args.size, args.device)
    if args.json:
        write_measured(args.json, args.device, rows)


if __name__ == '__main__':
    main()
