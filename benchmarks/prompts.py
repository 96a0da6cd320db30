"""What a model that is tuned on one class still knows of others when it is prompted, and what
training with prompts costs its answer without: docs/prompts.md.

python benchmarks/prompts.py --out runs.jsonl
    Tunes the quickstart's model on roads, without prompts and with several settings of prompts, and
    writes a line for each: Dice without a prompt on roads, IoU with prompts on roads and on things
    and shapes that training has not seen. Trainings lie beside --out; what is there is not made
    again.
python benchmarks/prompts.py --table runs.jsonl
    The table.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmsam_peft.apis.inference import init_model
from mmsam_peft.apis.launch import load_config
from mmsam_peft.apis.merging import merged_model
from mmsam_peft.apis.training import train
from mmsam_peft.datasets.scenes.objects import draw_instances
from mmsam_peft.datasets.scenes.roads import draw_roads
from mmsam_peft.datasets.scenes.shapes import CLASSES, draw_shapes
from mmsam_peft.evaluation import ClickMetric
from mmsam_peft.measures.clicks import objects_of

CONFIG, SIZE = 'configs/lora/quickstart.py', 256
SHARES = dict(box=0.5, point=0.3, none=0.2)
VARIANTS = {
    'base': None,
    'without prompts': {},
    'none=0.2': dict(prompts=SHARES),
    'keep=1': dict(prompts=dict(SHARES, keep=1)),
    'keep=2': dict(prompts=dict(SHARES, keep=2)),
    'keep=2, none=0.5': dict(prompts=dict(box=0.3, point=0.2, none=0.5, keep=2)),
}
"""What is trained, by name: the options of the config."""
SEEN = ('IoU@box', 'IoU@1', 'IoU@3')
UPDATES = (1.0, 0.5, 0.25)
"""Shares of the encoder's update with which the base's decoder answers."""


def things(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of the pre-training world (H, W, 3), and its things (H, W), that no training saw."""
    image, _, instances = draw_instances(np.random.default_rng([0, *b'test', number]), SIZE)
    return image, instances


def shapes(number: int) -> tuple[np.ndarray, np.ndarray]:
    image, classes, *_ = draw_shapes(np.random.default_rng([0, *b'test', number]), SIZE)
    found = [objects_of(classes == one)[0] for one in range(2, len(CLASSES))]
    return image, sum(np.where(part, part + 100 * i, 0) for i, part in enumerate(found))


def roads(number: int) -> tuple[np.ndarray, np.ndarray]:
    image, mask = draw_roads(np.random.default_rng([0, *b'test', number]), SIZE)
    return image, objects_of(mask == 1)[0]


def batches(draw, images: Sequence[int]) -> Iterator[dict]:
    for number in images:
        image, instances = draw(number)
        sample = SegDataSample(
            metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE)),
            gt_sem_seg=PixelData(data=torch.from_numpy(instances > 0)[None].long()),
            gt_instances=PixelData(data=torch.from_numpy(instances.astype(np.int32))[None]),
        )
        bgr = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
        yield dict(inputs=[bgr], data_samples=[sample])


def prompted(model: torch.nn.Module, draw, images: Sequence[int]) -> dict[str, float]:
    """Scores of the robot user, means over objects of at least 100 pixels."""
    metric = ClickMetric(thresholds=(85,), clicks=3, iou_at=(1, 3), least=100)
    metric.bind(model)
    for batch in batches(draw, images):
        metric.process(batch, [sample.to_dict() for sample in batch['data_samples']])
    found = metric.evaluate(len(images))
    return {name: round(found[name], 2) for name in SEEN}


@torch.no_grad()
def dice(model: torch.nn.Module, images: Sequence[int]) -> float:
    """Without a prompt, on the test images of the roads."""
    evaluator = Evaluator([dict(type='mmsam_peft.BinaryMetric')])
    for batch in batches(roads, images):
        evaluator.process(model.test_step(batch), batch)
    return round(evaluator.evaluate(len(images))['Dice'], 2)


def measure(
    adapter: Path | None, options: dict, images: Sequence[int], share: float | None = None
) -> dict:
    """The model answers with prompts, whether it was trained so or not.

    Args:
        options: Of the config.
        share: None: prompts are answered as was trained; else by the decoder of the base, on an
            encoder with so much of the update. The answer without a prompt does not depend on it.
    """
    config = load_config(CONFIG, {'prompts': SHARES, **options})
    model = init_model(config, adapter, 'cpu')
    found = dict(dice=dice(model, images))
    if share is not None:
        base = init_model(config, None, 'cpu').decode_head
        model = merged_model(model, share=share)
        model.decode_head.load_state_dict(base.state_dict())
    for draw in (roads, things, shapes):
        found[draw.__name__] = prompted(model, draw, images)
    return found


def tune(options: dict, folder: Path, seed: int, epochs: int) -> Path:
    """Trains, or goes on; the adapter of the last epoch."""
    adapter = folder / 'adapter_last.safetensors'
    if not (folder / 'done').is_file():
        general = {
            'randomness.seed': seed,
            'max_epochs': epochs,
            'val_interval': epochs,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.visualization.draw': False,
        }
        cfg = load_config(CONFIG, {**options, **general}, str(folder))
        cfg.resume = bool(list(folder.glob('epoch_*.pth')))
        cfg.experiment_name = cfg.visualizer.name = f'{folder.name}'
        train(cfg)
        (folder / 'done').touch()
    return adapter


def table(path: Path) -> str:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [
        '| training | Dice, roads, no prompt '
        + ''.join(f'| {part}, {kind} ' for part in ('roads', 'things', 'shapes') for kind in SEEN)
        + '|',
        '|---' * (2 + 9) + '|',
    ]
    for row in rows:
        scores = [
            row['dice'],
            *(row[part][kind] for part in ('roads', 'things', 'shapes') for kind in SEEN),
        ]
        lines.append(f'| {row["name"]} | ' + ' | '.join(f'{score:.1f}' for score in scores) + ' |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path)
    parser.add_argument('--table', type=Path)
    parser.add_argument('--variants', nargs='+', default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument('--base', default='mmsam_peft://quickstart_prompts')
    parser.add_argument('--images', type=int, default=50)
    parser.add_argument('--first', type=int, default=0, help='number of the first test scene')
    parser.add_argument('--epochs', type=int, default=6)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    if args.table:
        print(table(args.table))
        return
    cv2.setNumThreads(0)
    images = range(args.first, args.first + args.images)
    lines = args.out.read_text().splitlines() if args.out.is_file() else []
    made = {(row['name'], row['seed'], row['epochs']) for row in map(json.loads, lines)}
    for name in args.variants:
        options = VARIANTS[name]
        folder = args.out.parent / f'{name.replace(" ", "_")}_{args.seed}_{args.epochs}'
        for share in (None,) if options is None else (None, *UPDATES):
            by_base = '' if share is None else f", base's decoder, {share:g} of the update"
            row = dict(name=f'{name}{by_base}', seed=args.seed, epochs=args.epochs)
            if tuple(row.values()) in made:
                continue
            adapter = None
            given = {**(options or {}), 'model.checkpoint': args.base}
            if options is not None:
                adapter = tune(given, folder, args.seed, args.epochs)
            row |= measure(adapter, given, images, share)
            print(json.dumps(row), flush=True)
            with open(args.out, 'a') as file:
                file.write(json.dumps(row) + '\n')


if __name__ == '__main__':
    main()
