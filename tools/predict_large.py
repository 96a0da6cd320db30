"""Predicts images of any size, window by window: GeoTIFF, COG, JPEG 2000, OME-TIFF, Zarr.

python tools/predict_large.py adapter_best.safetensors scene.tif
python tools/predict_large.py adapter_best.safetensors scene.tif --polygons gpkg --bands 3 2 1

Writes NAME.tif, with the image's georeference, and on request polygons. A run that was stopped
goes on where it was. See docs/large_images.md.
"""

import sys

from model_arguments import SPEED, given_model, model_parser, option_arguments
from tool_arguments import MODEL, options_of, quiet_imports, settings_arguments


def main() -> None:
    parser = model_parser(__doc__, 'IMAGE...', 'files, or Zarr folders')
    parser.add_argument('--out-dir', default='outputs', help='for NAME.tif (default: %(default)s)')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace masks that are there already'
    )
    parser.add_argument(
        '--window',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help="side, or HEIGHT WIDTH (default: the model's own)",
    )
    parser.add_argument(
        '--stride',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help="from window to window (default: the model's own, else two thirds of the window)",
    )
    parser.add_argument(
        '--bands',
        type=int,
        nargs='+',
        metavar='N',
        help="the file's bands for red, green and blue, the first is 1 (default: as in training)",
    )
    parser.add_argument('--task', help='which one, for models of several tasks')
    option_arguments(parser, '--threshold')
    parser.add_argument(
        '--polygons',
        choices=['geojson', 'gpkg'],
        help='also write NAME.geojson (longitude and latitude) or NAME.gpkg (the coordinates of '
        'the image)',
    )
    parser.add_argument(
        '--min-area',
        type=int,
        default=0,
        metavar='PIXELS',
        help='leave smaller polygons out',
    )
    parser.add_argument(
        '--cog', action='store_true', help='write a Cloud Optimized GeoTIFF, with overviews'
    )
    option_arguments(parser, *SPEED, '--merge', '--device')
    settings_arguments(parser, *MODEL)
    args = parser.parse_args()
    options = options_of(parser, args)
    # what takes seconds to import comes after what a user may have mistyped
    with quiet_imports():
        from mmsam_peft.apis import init_model
        from mmsam_peft.apis.from_header import is_weights
        from mmsam_peft.apis.large_images import Settings, predict_large
        from mmsam_peft.apis.large_images.opening import open_large
        from mmsam_peft.apis.launch import load_config, warn_of_slow_bf16
        from mmsam_peft.apis.prediction import reason
    end = 2 + next((i for i, path in enumerate(args.given) if is_weights(path)), 0)
    config, weights, _ = given_model(parser, args.given[:end], 'IMAGE')
    images = args.given[end - 1 :]
    for image in images:  # before the model is built, which takes longer
        try:
            open_large(image).close()
        except (OSError, ImportError, ValueError) as error:
            sys.exit(str(error))
    if args.amp:
        warn_of_slow_bf16()
    if config:
        config, options = load_config(config, options, also_read=['test_pipeline']), None
    model = init_model(
        config,
        weights,
        args.device,
        options,
        merge=args.merge,
        task=args.task if args.merge else None,
        checkpoint=args.checkpoint,
    )
    settings = Settings(args.window, args.stride, args.bands, args.task, args.threshold, args.amp)
    failed = []
    for image in images:
        try:
            mask = predict_large(
                model,
                image,
                args.out_dir,
                settings,
                args.batch_size,
                args.polygons,
                args.min_area,
                args.cog,
                args.overwrite,
            )
            print(f'{image}: see {mask}')
        except (OSError, ImportError, ValueError) as error:
            failed.append((image, error))
    for image, error in failed:
        print(f'  not predicted: {image}: {reason(error)}', file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
