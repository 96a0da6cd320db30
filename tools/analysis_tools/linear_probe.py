"""The accuracy of logistic regression on the features of frozen encoders.

python tools/analysis_tools/linear_probe.py --data DATA SAM=sam_vit_b.pth MAE=mae_vit_b.pth
    reads DATA/train/CLASS/ and DATA/val/CLASS/.
"""

from encoder_arguments import encoder_parser, read_arguments

from mmsam_peft.analysis.linear_probe import linear_probe
from mmsam_peft.analysis.rows import as_markdown


def main() -> None:
    parser = encoder_parser(__doc__, images=False)
    parser.add_argument('--data', required=True, help='a folder with train/CLASS/ and val/CLASS/')
    parser.add_argument(
        '--pooling',
        choices=['mean', 'token'],
        default='mean',
        help='of the last map; or the class token, which MAE has and SAM has not',
    )
    args, encoders, _ = read_arguments(parser)
    rows = [['encoder', 'accuracy, %', 'images', 'features', 'C']]
    for encoder in encoders:
        found = linear_probe(encoder, args.data, args.pooling)
        numbers = found.images, found.width, found.strength
        rows.append([found.name, f'{found.accuracy:.2f}', *map(str, numbers)])
    print(as_markdown(rows))


if __name__ == '__main__':
    main()
