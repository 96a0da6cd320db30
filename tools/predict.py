"""Predicts images.

python tools/predict.py adapter_best.safetensors IMAGES
python tools/predict.py CONFIG WEIGHTS IMAGES

The adapter file suffices: it holds the model's config, and its base weights are found by name or
content. Files of earlier versions, and models with parts of your own, take a config. See
docs/use_an_adapter.md.
"""

import argparse
import sys

from model_arguments import EXTRAS, SPEED, given_model, model_parser, option_arguments
from tool_arguments import MODEL, options_of, quiet_imports, settings_arguments


def main() -> None:
    parser = model_parser(__doc__, 'IMAGES', 'a file, a folder or a quoted glob pattern')
    prompted = parser.add_mutually_exclusive_group()
    prompted.add_argument(
        '--points',
        metavar='FILE',
        help='the objects at these points, a CSV with the columns image, x, y, label, object: '
        "writes the objects' masks/, overlays/ and instances.json (COCO). See docs/prompts.md",
    )
    prompted.add_argument(
        '--boxes',
        metavar='FILE',
        help='the objects in these boxes, a CSV with the columns image, x0, y0, x1, y1, or a COCO '
        'JSON',
    )
    prompted.add_argument(
        '--everything',
        type=int,
        nargs='?',
        const=32,
        metavar='N',
        help='all objects that a grid of N x N points finds (default N: %(const)s)',
    )
    parser.add_argument(
        '--update',
        type=float,
        metavar='SHARE',
        help="with prompts: the base's decoder answers, on an encoder with this share of the "
        "adapter's update, from 0 to 1; for other things than those it was trained for, 0.25",
    )
    option_arguments(parser, *EXTRAS)
    parser.add_argument(
        '--out-dir',
        default='outputs',
        help='for masks/ and overlays/, or panels/ and a folder per task (default: %(default)s)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='remove first what earlier runs wrote there; without it a stopped run goes on',
    )
    parser.add_argument(
        '--opacity',
        type=float,
        default=0.5,
        help='of the classes over the image (default: %(default)s)',
    )
    option_arguments(parser, *SPEED)
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the encoder: seconds to minutes at first, then faster',
    )
    option_arguments(parser, '--merge')
    parser.add_argument(
        '--task',
        help='with --merge: whose model, where the method adapts the encoder for each task',
    )
    option_arguments(parser, '--device')
    settings_arguments(parser, *MODEL)
    args = parser.parse_args()

    if args.task and not args.merge:
        parser.error('--task goes with --merge; without it every task is predicted')

    with_prompts = bool(args.points or args.boxes or args.everything is not None)
    if with_prompts:
        refuse_with_prompts(parser, args)
    elif args.update is not None:
        parser.error('--update goes with --points, --boxes or --everything')
    options = options_of(parser, args)
    # what takes seconds to import comes after what a user may have mistyped
    with quiet_imports():
        from mmsam_peft.apis import init_model, predict
        from mmsam_peft.apis.extras import Extras
        from mmsam_peft.apis.images import find_images
        from mmsam_peft.apis.launch import load_config, warn_of_slow_bf16
        from mmsam_peft.apis.objects.instance_files import options_for_prompts, predict_instances
        from mmsam_peft.apis.objects.prompt_files import read_boxes, read_points
        from mmsam_peft.apis.prediction import reason
    config, weights, images = given_model(parser, args.given, 'IMAGES')
    prompts = read_points(args.points) if args.points else None
    prompts = read_boxes(args.boxes) if args.boxes else prompts
    find_images(images)  # before the model is built, which takes longer
    if args.amp:
        warn_of_slow_bf16()
    if args.compile:
        options['model.backbone.compile'] = True
    switched_on = {}
    if with_prompts:
        loaded = load_config(config, options, also_read=['test_pipeline']) if config else None
        switched_on = options_for_prompts(loaded, weights, args.update is not None)
        options.update(switched_on)
    if config:
        config, options = load_config(config, options, also_read=['test_pipeline']), None
    model = init_model(
        config,
        weights,
        args.device,
        options,
        merge=args.merge if args.update is None else args.update,
        task=args.task,
        checkpoint=args.checkpoint,
        base=bool(switched_on),
    )
    if with_prompts:
        predicted = predict_instances(
            model, images, args.out_dir, prompts, args.everything, args.opacity, args.overwrite
        )
    else:
        extras = Extras(args.threshold, args.probabilities, args.save_polygons)
        predicted = predict(
            model,
            images,
            args.out_dir,
            args.opacity,
            args.batch_size,
            args.amp,
            args.overwrite,
            extras,
        )
    results = list(predicted)
    failed = [(image, error) for image, error in results if error]
    print(f'{len(results) - len(failed)} of {len(results)} images: see {args.out_dir}')
    for image, error in failed:
        print(f'  not predicted: {image}: {reason(error)}', file=sys.stderr)
    sys.exit(bool(failed))


def refuse_with_prompts(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with the usage where an argument is about classes, not about objects."""
    for name in ('threshold', 'probabilities', 'save_polygons', 'batch_size', 'amp', 'task'):
        if getattr(args, name) not in (None, False):
            parser.error(
                f'--{name.replace("_", "-")} does not go with --points, --boxes and --everything'
            )
    if args.update is not None and not 0 <= args.update <= 1:
        parser.error(f'--update {args.update:g}: a share from 0 to 1')
    if args.everything is not None and args.everything < 1:
        parser.error(f'--everything {args.everything}: at least 1 point along a side')


if __name__ == '__main__':
    main()
