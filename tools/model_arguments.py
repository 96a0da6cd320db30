"""What the command lines of tools share that use a trained model: ``[CONFIG] WEIGHTS ...``."""

import argparse

from tool_arguments import options_of, quiet_imports

OPTIONS = {
    '--threshold': dict(
        type=float,
        help="of the object's probability, for models of one class (default: the model's own)",
    ),
    '--probabilities': dict(
        action='store_true',
        help='also write probabilities/NAME.npy: float32, (classes, height, width), or (1, height, '
        'width) of the object',
    ),
    '--save-polygons': dict(
        action='store_true',
        help='also write polygons/NAME.geojson, in pixels from the top left corner',
    ),
    '--batch-size': dict(
        type=int, metavar='N', help='how many at a time (default: 1 on a CPU, 4 on a GPU)'
    ),
    '--amp': dict(action='store_true', help='compute in bfloat16'),
    '--merge': dict(
        action='store_true',
        help='fold the adapter into the weights, where the method merges: the '
        'speed of plain SAM, results that differ by rounding',
    ),
    '--device': dict(help='default: the GPU where there is one'),
}
EXTRAS, SPEED = ('--threshold', '--probabilities', '--save-polygons'), ('--batch-size', '--amp')


def model_parser(description: str, last: str, about: str) -> argparse.ArgumentParser:
    """A parser of ``[CONFIG] WEIGHTS LAST`` and ``--checkpoint``; ``given_model`` reads them.

    Args:
        last: What the last argument is called: 'IMAGES'.
        about: What it may be.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f'%(prog)s [CONFIG] WEIGHTS {last} [options]',
    )
    parser.add_argument(
        'given',
        nargs='+',
        metavar=f'[CONFIG] WEIGHTS {last}',
        help=f'WEIGHTS: an adapter (.safetensors) or a checkpoint (.pth). {last}: {about}',
    )
    parser.add_argument(
        '--checkpoint',
        help='the base weights that the adapter was trained on (default: those of the config; '
        'without one they are looked for)',
    )
    return parser


def option_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        parser.add_argument(name, **OPTIONS[name])


def given_model(
    parser: argparse.ArgumentParser, given: list[str], last: str
) -> tuple[str | None, str, str]:
    """The config, if any, the weights and the last argument; ends with the usage where they are not
    clear."""
    with quiet_imports():
        from mmengine.logging import MMLogger

        from mmsam_peft.apis.arguments import config_and_weights
        from mmsam_peft.apis.console import quieted
    quieted(MMLogger.get_current_instance())
    try:
        return config_and_weights(given, last)
    except ValueError as error:
        parser.error(str(error))


def many_parser(description: str) -> argparse.ArgumentParser:
    """The arguments of jobs that are for several processes; ``many_settings`` reads them."""
    parser = model_parser(
        description,
        'IMAGES',
        'a folder or a quoted glob pattern, or the address of either in an object store',
    )
    parser.usage = '%(prog)s [CONFIG] WEIGHTS IMAGES OUT [options]'
    parser.add_argument('out', metavar='OUT', help='a folder, or its address in an object store')
    option_arguments(parser, '--device', *SPEED, *EXTRAS)
    parser.add_argument('--overlays', action='store_true', help='also write overlays, or panels')
    return parser


def many_settings(parser: argparse.ArgumentParser, args: argparse.Namespace) -> tuple:
    """The settings of a job and its images; ends with the usage where they are not clear."""
    options = options_of(parser, args)
    if args.batch_size is not None and args.batch_size < 1:
        parser.error(f'--batch-size {args.batch_size}: at least 1')
    config, weights, images = given_model(parser, args.given, 'IMAGES')
    with quiet_imports():
        from mmsam_peft.apis.at_scale.job import Settings
        from mmsam_peft.apis.extras import Extras
    settings = Settings(
        weights,
        config,
        args.checkpoint,
        options,
        args.device,
        args.batch_size,
        args.amp,
        args.overlays,
        Extras(args.threshold, args.probabilities, args.save_polygons),
    )
    return settings, images
