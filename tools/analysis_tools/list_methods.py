"""Which fine-tuning methods go into which hosts: those that are known by themselves, or those of a
config.

python tools/analysis_tools/list_methods.py [CONFIG]
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tool_arguments

from mmengine.registry import DefaultScope
from tool_arguments import Options

from mmsam_peft.analysis.matrix import hosts_of, known_hosts, method_table
from mmsam_peft.apis.launch import load_config
from mmsam_peft.registry import SCOPE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='a config of a PEFTSegmentor')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        help='settings to override: model.backbone.arch=huge',
    )
    args = parser.parse_args()
    with DefaultScope.overwrite_default_scope(SCOPE):
        hosts = (
            hosts_of(load_config(args.config, args.cfg_options).model)
            if args.config
            else known_hosts()
        )
        print(method_table(hosts))


if __name__ == '__main__':
    main()
