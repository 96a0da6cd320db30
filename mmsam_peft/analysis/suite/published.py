"""The papers' numbers (published.json), to stand beside measured ones, and marked as theirs.

Conv-LoRA (Zhong et al., ICLR 2024), tables 1 and 2: SAM ViT-H, means over three runs with their
standard deviation where it is printed; the comparators of Trans10K-v2 as that paper cites them.
"""

import json
from functools import cache
from pathlib import Path

PAPER = 'Zhong et al., ICLR 2024, SAM ViT-H'
FOLDERS = dict(
    Frozen='decoder_only',
    BitFit='bitfit',
    Adapter='adapter',
    VPT='vpt',
    LST='lst',
    SAMAdapter='sam_adapter',
    SSF='ssf',
    LoRA='lora',
    ConvLoRA='convlora',
)
"""The folder of the configs by method, where methods are put into one config."""


@cache
def published() -> dict[str, dict[str, dict[str, list]]]:
    """[mean, deviation or None] by data set, score as our tests name it, and configs' folder."""
    return json.loads(Path(__file__).with_name('published.json').read_text())


def published_score(data: str, metric: str, method: str) -> list | None:
    """[mean, deviation or None], or None where there is none."""
    folder = FOLDERS.get(method, method)
    return published().get(data, {}).get(metric, {}).get(folder)
