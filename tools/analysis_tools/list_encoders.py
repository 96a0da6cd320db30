"""The encoders that ``encoder=NAME`` chooses, with their sizes, operations, licences and weights.

python tools/analysis_tools/list_encoders.py

Writes the table of docs/encoders.md. GFLOP are the multiplications and additions of a forward pass
for one image of the size that the weights were trained for, counted without computing anything.
"""

import argparse
from pathlib import Path

from mmengine.registry import DefaultScope

from mmsam_peft.analysis.encoder_table import BEGIN, END, encoder_table
from mmsam_peft.registry import SCOPE
from mmsam_peft.whole_files import write_whole


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    page = Path(__file__).resolve().parents[2] / 'docs/encoders.md'
    with DefaultScope.overwrite_default_scope(SCOPE):
        table = encoder_table()
    before, _, rest = page.read_text(encoding='utf-8').partition(BEGIN)
    after = rest.partition(END)[2]
    write_whole(page, f'{before}{BEGIN}\n{table}\n{END}{after}'.encode())
    print(table)


if __name__ == '__main__':
    main()
