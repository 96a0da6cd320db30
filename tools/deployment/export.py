"""Writes a model as one file that runs without this package: ONNX, or PyTorch's .pt2.

python tools/deployment/export.py ADAPTER model.onnx
python tools/deployment/export.py CONFIG WEIGHTS model.onnx

The file takes images of any size as bytes, resizes and normalises them, and answers with masks of
their size. Methods that merge are merged; Conv-LoRA's experts are part of the file. See
docs/export.md.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tool_arguments

from model_arguments import given_model, model_parser
from tool_arguments import MODEL, options_of, quiet_imports, settings_arguments


def main() -> None:
    parser = model_parser(__doc__, 'OUT', '.onnx or .pt2')
    parser.add_argument('--task', help='of a multi-task model, the only one to be answered')
    parser.add_argument(
        '--preprocessing',
        choices=['inside', 'outside'],
        default='inside',
        help='inside: images are bytes, RGB, (B, H, W, 3); outside: normalised numbers, '
        '(B, 3, H, W) (default: %(default)s)',
    )
    parser.add_argument(
        '--resize',
        choices=['inside', 'outside'],
        help='inside: images of any size, and answers of the same; outside: those of the '
        "network's (default: inside, where the model does not slide windows)",
    )
    parser.add_argument(
        '--int8', action='store_true', help='weights of linear layers in 8 bits: a smaller file'
    )
    parser.add_argument(
        '--prompts',
        action='store_true',
        help='of a model with prompts, NAME_encoder.onnx and NAME_decoder.onnx, which answers to '
        "clicks and boxes, as segment-anything's export",
    )
    settings_arguments(parser, *MODEL)
    args = parser.parse_args()
    if args.prompts and args.task:
        parser.error('--prompts goes without --task: prompts are for models of one class')
    options = options_of(parser, args)
    with quiet_imports():
        from mmsam_peft.apis import init_model
        from mmsam_peft.apis.export import FORMATS, export_model
        from mmsam_peft.apis.export.prompt_files import export_prompts
        from mmsam_peft.apis.launch import load_config
    config, weights, out = given_model(parser, args.given, 'OUT')
    if Path(out).suffix not in FORMATS:
        parser.error(f'{out}: the name has to end in {" or ".join(FORMATS)}')
    if args.prompts and Path(out).suffix != '.onnx':
        parser.error(f'{out}: files for prompts are ONNX, and the name has to end in .onnx')
    if config:
        config, options = load_config(config, options, also_read=['test_pipeline']), None
    model = init_model(config, weights, 'cpu', options, checkpoint=args.checkpoint)
    how = dict(preprocessing=args.preprocessing, resize=args.resize, int8=args.int8)
    if args.prompts:
        for path, made in export_prompts(model, out, weights=weights, **how).items():
            print(report(path, made))
        return
    print(report(out, export_model(model, out, args.task, weights=weights, **how)))


def report(out: str, made) -> str:
    """What was written, in a few lines."""
    about, steps = made.about, made.about['preprocessing']
    adapter = about['adapter'] or {}
    method = adapter.get('method') or 'the model'
    size = ' x '.join(map(str, steps['size']))
    lines = [
        f'{out}: {made.bytes / 1e6:,.1f} MB, {about.get("part", about["kind"])}, '
        f'{method} {"merged" if adapter.get("merged") else "as it is"}; network of {size} pixels'
    ]
    if steps['windows']:
        lines.append(
            '  The model slides windows over images; the file is the network that sees one of them.'
        )
    what, whose = ('numbers', 'Predictor') if 'part' in about else ('pixels', 'predict.py')
    for name, check in (('', made.check), ('8 bits: ', made.check8)):
        if check:
            found = f'{check["difference"]:.1e} of the largest'
            if 'same' in check:
                found += f'; {check["same"]:.3%} of the pixels are the same'
            if check['own']:
                found += f'; {check["own"]:.3%} of the {what} are those of {whose}'
            lines.append(
                f'  {name}on random images, numbers differ from those of the network by {found}'
            )
    if made.check is None:
        lines.append("  Not compared with the model: pip install -e '.[export]'")
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
