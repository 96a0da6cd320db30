"""Prints trained and all parameters per part, loading no weights.

python tools/analysis_tools/count_parameters.py CONFIG
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tool_arguments

from tool_arguments import Options

from mmsam_peft.apis.inference import build_to_count
from mmsam_peft.apis.launch import load_config
from mmsam_peft.peft import count_parameters


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        help='settings to override: model.backbone.arch=huge',
    )
    args = parser.parse_args()

    model = build_to_count(load_config(args.config, args.cfg_options))
    rows = [(name, *count_parameters(part)) for name, part in model.named_children()]
    rows = [row for row in rows if row[2]] + [('total', *count_parameters(model))]
    print(f'{"part":<16}{"trained":>16}{"all":>16}{"share":>9}')
    for name, trained, everything in rows:
        print(f'{name:<16}{trained:>16,}{everything:>16,}{trained / everything:>9.2%}')


if __name__ == '__main__':
    main()
