"""What a click costs once an image is embedded: ViT-B, random weights, a noise picture.

python benchmarks/clicks.py [--threads 2]
"""

import argparse
import statistics
import time

import numpy as np
import torch
from mmengine.registry import init_default_scope

from mmsam_peft.apis import Predictor
from mmsam_peft.apis.launch import load_config
from mmsam_peft.registry import MODELS, SCOPE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default='configs/lora/kvasir.py')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = load_config(args.config, {'model.checkpoint': None, 'model.decode_head.prompts': True})
    init_default_scope(SCOPE)
    model = MODELS.build(config.model).eval()
    model.cfg = config
    predictor, rng = Predictor(model), np.random.default_rng(0)
    start = time.perf_counter()
    predictor.set_image(rng.integers(0, 256, (768, 1024, 3), np.uint8))
    print(f'embedding: {time.perf_counter() - start:.1f} s')
    _, _, logits = predictor.predict([[500, 300]], [1])
    kinds = {
        'a click, three masks': dict(point_coords=[[500, 300]], point_labels=[1]),
        'three clicks and the mask before': dict(
            point_coords=[[500, 300], [20, 40], [900, 700]],
            point_labels=[1, 0, 1],
            mask_input=logits[:1],
            multimask_output=False,
        ),
        'a box': dict(box=[100, 100, 600, 500], multimask_output=False),
    }
    for name, given in kinds.items():
        wall, cpu = [], []
        for _ in range(args.repeats):
            start, worked = time.perf_counter(), time.process_time()
            predictor.predict(**given)
            wall.append(1000 * (time.perf_counter() - start))
            cpu.append(1000 * (time.process_time() - worked))
        print(
            f'{name}: {statistics.median(wall):.0f} ms ({min(wall):.0f} to {max(wall):.0f}), '
            f'{statistics.median(cpu):.0f} ms of CPU'
        )


if __name__ == '__main__':
    main()
