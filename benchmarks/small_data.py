"""Trains on few images of several sets, with several learning rates, lengths and augmentations, and
writes a line for each training: what mmsam_peft/apis/training_defaults.py rests on.

python benchmarks/small_data.py DATA --checkpoint FILE --out runs.jsonl --images 5 20 100 \
    --methods ConvLoRA --rates 3e-4 1e-3 3e-3 --lengths 200
    Makes the runs of all combinations that --out does not hold yet, in one process, one after
    another. DATA holds kvasir, leaf and camvid as MMSegmentation has them; the generated roads are
    drawn beside --out.
python benchmarks/small_data.py --table runs.jsonl
    The table.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope

from mmsam_peft.apis.launch import load_config
from mmsam_peft.datasets.augmentation import PRESETS
from mmsam_peft.peft.base_dtype import BASE_DTYPES
from mmsam_peft.registry import DATASETS, MODELS, SCOPE

SIZE, BATCH, VALIDATIONS = 128, 4, 4
HELD_OUT = dict(val=30, test=50)
SETS = dict(
    kvasir=dict(splits=('train', 'val', 'test')),
    leaf=dict(splits=('train', 'val', 'val'), halves=True),
    camvid=dict(splits=('train', 'val', 'test'), object=3),
    roads=dict(splits=('train', 'val', 'test')),
)
"""Leaf has no test images: every second one of its val serves as such. Of CamVid, the road."""
FULL_RATE, WEIGHT_DECAY = 0.2, 1e-4
"""Full fine-tuning gets a fifth of a rate, as in the other studies."""


class Data:
    """The images of a set, read once, at ``SIZE`` x ``SIZE``."""

    def __init__(self, name: str, folder: Path, scenes: Path) -> None:
        self.about = SETS[name]
        load = [dict(type='LoadImageFromFile'), dict(type='LoadMask')]
        self.sets = {}
        for role, split in zip(('train', 'val', 'test'), self.about['splits'], strict=True):
            common = dict(pipeline=load, serialize_data=False)
            if name == 'roads':
                dataset = dict(type='QuickstartDataset', data_root=str(scenes), split=split)
            else:
                classes = [str(number) for number in range(11 if 'object' in self.about else 2)]
                dataset = dict(
                    type='FolderDataset',
                    data_root=str(folder / name),
                    metainfo=dict(classes=classes),
                    data_prefix=dict(img_path=f'img_dir/{split}', seg_map_path=f'ann_dir/{split}'),
                )
            self.sets[role] = DATASETS.build({**dataset, **common})
        self.read: dict[tuple[str, int], dict] = {}

    def indices(self, role: str, count: int, seed: int = 0) -> list[int]:
        """Of ``count`` images; of training images those that the seed draws, else the same always,
        evenly spread."""
        number = len(self.sets[role])
        if role == 'train':
            return np.random.RandomState(seed).permutation(number)[:count].tolist()
        there = range(number)
        if self.about.get('halves'):
            there = there[0 if role == 'val' else 1 :: 2]
        return [there[i] for i in np.linspace(0, len(there) - 1, count).round().astype(int)]

    def sample(self, role: str, index: int) -> dict:
        if (role, index) not in self.read:
            results = self.sets[role][index]
            mask = results['gt_seg_map']
            if 'object' in self.about:
                mask = np.where(mask == 255, 255, mask == self.about['object']).astype(np.uint8)
            image = cv2.resize(results['img'], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
            self.read[role, index] = dict(
                img=image,
                gt_seg_map=mask,
                img_path=results['img_path'],
                img_shape=(SIZE, SIZE),
                ori_shape=(SIZE, SIZE),
                seg_fields=['gt_seg_map'],
            )
        return {**self.read[role, index], 'seg_fields': ['gt_seg_map']}


def evaluate(model, batches: list[dict]) -> float:
    """Dice, mean over images."""
    evaluator = Evaluator([dict(type='BinaryMetric')])
    evaluator.dataset_meta = dict(classes=('background', 'object'))
    model.eval()
    with torch.no_grad():
        for batch in batches:
            evaluator.process(data_samples=model.val_step(batch), data_batch=batch)
    model.train()
    return evaluator.evaluate(sum(len(batch['inputs']) for batch in batches))['Dice']


def constant(batches: list[dict]) -> float:
    """Dice of calling everything the object."""
    masks = [s.gt_sem_seg.data.numpy() for batch in batches for s in batch['data_samples']]
    shares = [(mask == 1).sum() / max(1, (mask != 255).sum()) for mask in masks]
    return 100 * float(np.mean([2 * share / (1 + share) for share in shares]))


def collate(samples: list[dict]) -> dict:
    return {key: [sample[key] for sample in samples] for key in ('inputs', 'data_samples')}


def train(run: dict, data: Data, checkpoint: str) -> dict:
    """Makes a run; returns its scores."""
    torch.manual_seed(run['seed'])
    np.random.seed(run['seed'])
    rate = run['rate'] * (FULL_RATE if run['method'] == 'Full' else 1)
    options = {
        'model.checkpoint': checkpoint,
        'image_size': SIZE,
        'model.backbone.peft.type': run['method'],
        'model.backbone.base_dtype': run['base_dtype'],
    }
    cfg = load_config('benchmarks/kvasir/base.py', options)
    model = MODELS.build(cfg.model)
    model.init_weights()
    cfg.optim_wrapper.optimizer.update(lr=rate, weight_decay=WEIGHT_DECAY, fused=True)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    length, warm_up = run['length'], round(run['warm_up'] * run['length'])
    schedule = [dict(type='PolyLR', power=1.0, eta_min=0, begin=warm_up, end=length)]
    if warm_up:
        schedule.insert(0, dict(type='LinearLR', start_factor=0.05, begin=0, end=warm_up))
    schedulers = [
        PARAM_SCHEDULERS.build(dict(one, by_epoch=False, optimizer=optimizer)) for one in schedule
    ]

    pack = Compose([dict(type='PackSegInputs')])
    change = Compose([*PRESETS[run['augment']], dict(type='PackSegInputs')])
    held_out = {
        role: [
            collate([pack(data.sample(role, index)) for index in part])
            for part in np.array_split(data.indices(role, count), count // 8)
        ]
        for role, count in HELD_OUT.items()
    }
    indices, order = data.indices('train', run['images'], run['seed']), []
    scores = dict(untuned=evaluate(model, held_out['test']), constant=constant(held_out['test']))
    best, curve, losses = (-1.0, {}), [], []
    for step in range(1, length + 1):
        while len(order) < BATCH:
            order += np.random.permutation(indices).tolist()
        drawn, order = order[:BATCH], order[BATCH:]
        batch = collate([change(data.sample('train', index)) for index in drawn])
        losses.append(float(model.train_step(batch, optimizer)['loss']))
        for scheduler in schedulers:
            scheduler.step()
        if step % (length // VALIDATIONS) == 0:
            curve.append(evaluate(model, held_out['val']))
            if curve[-1] > best[0]:
                best = curve[-1], {k: v.clone() for k, v in model.state_dict().items()}
    scores['last'] = evaluate(model, held_out['test'])
    model.load_state_dict(best[1])
    scores['best'] = evaluate(model, held_out['test'])
    scores.update(val=curve, loss=[float(np.mean(part)) for part in np.array_split(losses, 8)])
    return scores


def key(run: dict) -> tuple:
    return tuple(
        run[name]
        for name in (
            'set', 'images', 'method', 'rate', 'length', 'warm_up', 'augment', 'base_dtype', 'seed'
        )
    )  # fmt: skip


def read(path: Path) -> list[dict]:
    """The runs of a file; older ones had all weights in float32."""
    return [{'base_dtype': 'float32', **json.loads(line)} for line in path.read_text().splitlines()]


def table(path: Path) -> str:
    """A row for each set and number of images: held-out Dice, of one seed after another."""
    runs = sorted(read(path), key=lambda run: run['seed'])
    settings = list(dict.fromkeys(sorted(map(_setting, runs), key=lambda s: s[:-1])))
    lines = [
        f'| set | images | untuned | constant | {" | ".join(map(_words, settings))} |',
        '|---|' + '---:|' * (len(settings) + 3),
    ]
    for name, images in sorted({(run['set'], run['images']) for run in runs}):
        row = [run for run in runs if (run['set'], run['images']) == (name, images)]
        cells = [name, images, f'{row[0]["untuned"]:.1f}', f'{row[0]["constant"]:.1f}']
        for setting in settings:
            cells.append(
                ' / '.join(f'{run["best"]:.1f}' for run in row if _setting(run) == setting)
            )
        lines.append('| ' + ' | '.join(map(str, cells)) + ' |')
    return '\n'.join(lines)


def _setting(run: dict) -> tuple:
    names = 'method', 'length', 'augment', 'warm_up', 'rate', 'base_dtype'
    return tuple(run[name] for name in names)


def _words(setting: tuple) -> str:
    method, length, augment, warm_up, rate, stored = setting
    base = '' if stored == 'float32' else f', {stored} base'
    return f'{method} {rate:g}, {length} steps, {augment}, warm-up {warm_up:.0%}{base}'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', nargs='?', type=Path)
    parser.add_argument('--checkpoint')
    parser.add_argument('--out', type=Path)
    parser.add_argument('--table', type=Path)
    parser.add_argument('--sets', nargs='+', default=list(SETS), choices=SETS)
    parser.add_argument('--images', nargs='+', type=int, default=[5, 20, 100])
    parser.add_argument('--methods', nargs='+', default=['ConvLoRA'])
    parser.add_argument('--rates', nargs='+', type=float, default=[1e-3])
    parser.add_argument('--lengths', nargs='+', type=int, default=[200])
    parser.add_argument('--warm-ups', nargs='+', type=float, default=[0.1])
    parser.add_argument('--augments', nargs='+', default=['light'], choices=PRESETS)
    parser.add_argument('--base-dtypes', nargs='+', default=['float32'], choices=BASE_DTYPES)
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    args = parser.parse_args()
    if args.table:
        print(table(args.table))
        return

    init_default_scope(SCOPE)
    MMLogger.get_instance('mmengine', log_level='ERROR')
    done = set()
    if args.out.exists():
        done = set(map(key, read(args.out)))
    data: dict[str, Data] = {}
    for seed, images, name, method, rate, length, warm_up, augment, stored in itertools.product(
        args.seeds, args.images, args.sets, args.methods, args.rates, args.lengths, args.warm_ups,
        args.augments, args.base_dtypes,
    ):  # fmt: skip
        run = dict(
            set=name, images=images, method=method, rate=rate, length=length, warm_up=warm_up,
            augment=augment, base_dtype=stored, seed=seed,
        )  # fmt: skip
        if key(run) in done:
            continue
        if name not in data:
            data[name] = Data(name, args.data, args.out.parent / 'scenes')
        start = time.process_time()
        run |= train(run, data[name], args.checkpoint)
        run['seconds'] = round(time.process_time() - start, 1)
        with args.out.open('a') as file:
            file.write(json.dumps(run) + '\n')
        print(json.dumps({k: v for k, v in run.items() if k not in ('val', 'loss')}), flush=True)


if __name__ == '__main__':
    main()
