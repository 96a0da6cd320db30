"""Predicts images: python tools/predict.py CONFIG adapter_best.safetensors IMAGES"""

import argparse
import sys

from tool_arguments import MODEL, options_of, quiet_imports, settings_arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument(
        'weights',
        help='adapter (.safetensors; the config names its base weights) or checkpoint (.pth)',
    )
    parser.add_argument('images', help='a file, a folder or a quoted glob pattern')
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
    parser.add_argument(
        '--batch-size', type=int, help='images at a time (default: 1 on a CPU, 4 on a GPU)'
    )
    parser.add_argument('--amp', action='store_true', help='compute in bfloat16')
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the encoder: seconds to minutes at first, then faster',
    )
    parser.add_argument(
        '--merge',
        action='store_true',
        help='fold the adapter into the weights, where the method merges: the '
        'speed of plain SAM, results that differ by rounding',
    )
    parser.add_argument(
        '--task',
        help='with --merge: whose model, where the method adapts the encoder for each task',
    )
    parser.add_argument('--device', help='default: the GPU where there is one')
    settings_arguments(parser, *MODEL)
    args = parser.parse_args()

    if args.task and not args.merge:
        parser.error('--task goes with --merge; without it every task is predicted')

    options = options_of(parser, args)
    # what takes seconds to import comes after what a user may have mistyped
    with quiet_imports():
        from mmsam_peft.apis.launch import load_config, warn_of_slow_bf16

        cfg = load_config(args.config, options, also_read=['test_pipeline'])
        from mmsam_peft.apis import init_model, predict
        from mmsam_peft.apis.prediction import reason
    if args.amp:
        warn_of_slow_bf16()
    if args.compile:
        cfg.model.backbone.compile = True
    model = init_model(cfg, args.weights, args.device, merge=args.merge, task=args.task)
    results = list(
        predict(
            model,
            args.images,
            args.out_dir,
            args.opacity,
            args.batch_size,
            args.amp,
            args.overwrite,
        )
    )
    failed = [(image, error) for image, error in results if error]
    print(f'{len(results) - len(failed)} of {len(results)} images: see {args.out_dir}')
    for image, error in failed:
        print(f'  not predicted: {image}: {reason(error)}', file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
