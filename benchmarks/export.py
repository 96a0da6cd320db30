"""An exported file against the model on real or random images: scores, masks, processor time.

    python benchmarks/export.py CONFIG ADAPTER --images DIR --masks DIR --out RESULTS.json
    python benchmarks/export.py configs/lora/kvasir.py --random 4 \\
        --set model.checkpoint=None image_size=512 --out RESULTS.json

Alternates the model (``inference_model``), ONNX Runtime with float32 and with weights of 8 bits,
each on one thread, image by image, in one process. Dice is of class 1, the mean over images.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'

import numpy as np
import onnxruntime
import torch
from PIL import Image

from mmsam_peft.apis import init_model
from mmsam_peft.apis.export import export_model
from mmsam_peft.apis.inference import inference_model
from mmsam_peft.apis.launch import load_config
from mmsam_peft.whole_files import write_whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('weights', nargs='?')
    parser.add_argument('--images')
    parser.add_argument('--masks')
    parser.add_argument('--random', type=int, help='so many random images of 640 x 480 pixels')
    parser.add_argument('--set', nargs='*', default=[], help='image_size=512 ...')
    parser.add_argument('--out', required=True)
    args = parser.parse_args()
    options = {
        key: None if value == 'None' else int(value) if value.isdigit() else value
        for key, value in (one.split('=', 1) for one in args.set)
    }
    model = init_model(load_config(args.config, options), args.weights, 'cpu')
    with tempfile.TemporaryDirectory() as folder:
        results = measured(model, args, Path(folder))
    write_whole(args.out, f'{json.dumps(results, indent=1)}\n'.encode())
    print(json.dumps(results, indent=1))


def measured(model: torch.nn.Module, args: argparse.Namespace, folder: Path) -> dict:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sizes, checks, runs = {}, {}, {}
    for name, int8 in (('onnx', False), ('int8', True)):
        start = time.process_time()
        made = export_model(model, folder / f'{name}.onnx', int8=int8, weights=args.weights)
        checks[name] = dict(check=made.check, check8=made.check8)
        sizes[name] = dict(bytes=made.bytes, seconds=round(time.process_time() - start, 1))
        session = onnxruntime.InferenceSession(folder / f'{name}.onnx', options)
        runs[name] = lambda image, session=session: session.run(None, {'images': image[None]})
    runs['ours'] = lambda image: [
        inference_model(model, np.ascontiguousarray(image[..., ::-1])).pred_sem_seg.data.numpy()
    ]
    times: dict[str, list[float]] = {name: [] for name in runs}
    dice: dict[str, list[float]] = {name: [] for name in runs}
    same: dict[str, list[float]] = {name: [] for name in runs}
    for number, (image, truth) in enumerate(pictures(args)):
        masks = {}
        for name, run in runs.items():
            start = time.process_time()
            masks[name] = run(image)[0][0] == 1
            if number:  # the first makes room
                times[name].append(time.process_time() - start)
        for name, mask in masks.items():
            same[name].append(float((mask == masks['ours']).mean()))
            if truth is not None:
                total = mask.sum() + truth.sum()
                dice[name].append(float(200 * (mask & truth).sum() / max(1, total)))
    return dict(
        images=number + 1,
        torch=torch.__version__,
        onnxruntime=onnxruntime.__version__,
        files=sizes,
        checks=checks,
        milliseconds={
            name: dict(
                median=round(1000 * float(np.median(one)), 2),
                quarters=[round(1000 * float(x), 2) for x in np.percentile(one, (25, 75))],
            )
            for name, one in times.items()
        },
        dice={name: round(float(np.mean(one)), 3) for name, one in dice.items() if one},
        same_pixels={
            name: dict(mean=float(np.mean(one)), least=min(one)) for name, one in same.items()
        },
    )


def pictures(args: argparse.Namespace):
    """Images (H, W, 3), RGB, and what of them is class 1, or None."""
    if args.random:
        for seed in range(args.random):
            pixels = np.random.default_rng(seed).integers(0, 256, (480, 640, 3), dtype=np.uint8)
            yield pixels, None
        return
    for path in sorted(Path(args.images).iterdir()):
        truth = np.array(Image.open(Path(args.masks) / f'{path.stem}.png')) == 1
        yield np.array(Image.open(path).convert('RGB')), truth


if __name__ == '__main__':
    main()
