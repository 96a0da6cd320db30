"""Makes the decoder of the quickstart's base model, which answers with prompts and without.

python benchmarks/pretrain_prompts.py BASE.safetensors --out quickstart_prompts.safetensors

BASE has the encoder of configs/pretrain/objects.py, which stays as it is:

    python tools/train.py configs/pretrain/objects.py
    python tools/model_converters/export_base.py configs/pretrain/objects.py \
        work_dirs/pretrain/objects/adapter_last.safetensors BASE.safetensors

The images are encoded once, and the decoder is trained on their maps from random values: boxes
first, then more clicks, and corrections. A state beside --out is gone on from.
"""

import argparse
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from safetensors.torch import load_file, save_file

from mmsam_peft.apis.launch import load_config
from mmsam_peft.datasets.feature_cache import seeded
from mmsam_peft.datasets.scenes.objects import draw_instances
from mmsam_peft.datasets.transforms import PackSegInputs, SamplePrompts
from mmsam_peft.models.backbones.sam_keys import to_sam_keys
from mmsam_peft.registry import MODELS, SCOPE
from mmsam_peft.whole_files import whole_file

SIZE, BATCH, OBJECTS, RATE, WARM_UP = 256, 16, 2, 2e-3, 30
PHASES = (
    dict(until=0.35, box=0.7, none=0.15, rounds=1),
    dict(until=1.0, box=0.5, none=0.3, rounds=3),
)
"""How prompts are drawn, up to which share of the steps."""


def build(base: str) -> torch.nn.Module:
    """The quickstart's model with a decoder of random values."""
    encoder = {key: one for key, one in load_file(base).items() if key.startswith('image_encoder')}
    cfg = load_config('configs/pretrain/objects.py')
    cfg.model.decode_head.update(
        prompts=dict(train_encoder=True),
        loss_prompts=dict(),
        loss_decode=dict(type='DiceBCELoss'),
    )
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.backbone.load_sam(encoder, base)
    return model


@torch.no_grad()
def encode(model: torch.nn.Module, images: int) -> tuple[torch.Tensor, list[np.ndarray]]:
    """Maps (N, C, h, w) in half precision, and which object is seen where, (H, W) each."""
    model.eval()
    maps, objects = [], []
    for number in range(images):
        image, _, instances = draw_instances(np.random.default_rng([0, *b'train', number]), SIZE)
        bgr = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
        inputs = model.data_preprocessor(dict(inputs=[bgr]))['inputs']
        maps.append(model.extract_feat(inputs)[-1].half())
        objects.append(instances)
    return torch.cat(maps), objects


def samples(objects: list[np.ndarray], step: int, box: float) -> list:
    """What a step's pipeline gives for images with these objects, without the images."""
    steps = SamplePrompts(box=box, objects=OBJECTS), PackSegInputs()
    found = []
    for number, instances in enumerate(objects):
        mask = (instances > 0).astype(np.uint8)
        results = dict(gt_seg_map=mask, gt_instance_map=instances, img_shape=mask.shape)
        with seeded(step, number):
            for one in steps:
                results = one(results)
        found.append(results['data_samples'])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('base')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=2000)
    parser.add_argument('--images', type=int, default=2000)
    args = parser.parse_args()
    init_default_scope(SCOPE)
    cv2.setNumThreads(0)
    model, state = build(args.base), args.out.with_suffix('.state.pth')
    maps, objects = encode(model, args.images)
    head = model.decode_head.train()
    trained = [one for one in head.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.05)
    first = 0
    if state.is_file():
        found = torch.load(state, weights_only=True)
        head.load_state_dict(found['head'])
        optimizer.load_state_dict(found['optimizer'])
        first = found['step']
    seen, start = [], time.process_time()
    for step in range(first, args.steps):
        phase = next(one for one in PHASES if step < one['until'] * args.steps)
        head.prompt_loss.none, head.prompt_loss.rounds = phase['none'], phase['rounds']
        cosine = 0.5 * (1 + math.cos(math.pi * step / args.steps))
        for group in optimizer.param_groups:
            group['lr'] = RATE * min(1, (step + 1) / WARM_UP) * cosine
        drawn = np.random.default_rng([1, step]).choice(len(maps), BATCH, replace=False)
        batch = samples([objects[i] for i in drawn], step, phase['box'])
        losses = head.loss((maps[drawn].float(),), batch, {})
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()
        seen.append({name: float(value.detach()) for name, value in losses.items()})
        if (step + 1) % 25 == 0 or step + 1 == args.steps:
            means = {name: sum(one[name] for one in seen) / len(seen) for name in seen[0]}
            means = {name: round(value, 3) for name, value in means.items()}
            print(step + 1, means, f'{time.process_time() - start:.0f} s', flush=True)
            seen.clear()
            with whole_file(state) as unfinished:
                torch.save(
                    dict(head=head.state_dict(), optimizer=optimizer.state_dict(), step=step + 1),
                    unfinished,
                )
    content = {
        key: value.to(torch.float16).contiguous()
        for key, value in to_sam_keys(model.state_dict()).items()
    }
    with whole_file(args.out) as unfinished:
        save_file(content, unfinished)
        unfinished.chmod(0o644)
    print(f'{args.out}: {args.out.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    main()
