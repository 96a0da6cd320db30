"""Writes the pages of the model zoo: README.md and metafile.yaml in each folder of configs/, the
model index, and docs/benchmarks.md.

python tools/analysis_tools/model_zoo.py

Numbers come from the papers (marked) and from tables that the suite's collector wrote: copy its
scores.csv into benchmarks/results/cells/ first.
"""

import argparse
from pathlib import Path

from mmsam_peft.analysis.zoo import write_zoo


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    root = Path(__file__).resolve().parents[2]
    changed = write_zoo(root)
    print('\n'.join(str(path.relative_to(root)) for path in changed) or 'all pages are up to date')


if __name__ == '__main__':
    main()
