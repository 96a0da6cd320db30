"""Options of command lines, as a shell gives them."""

import argparse
import runpy
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def options(monkeypatch):
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)  # which the module sets
    shared = runpy.run_path(str(TOOLS / 'tool_arguments.py'))
    parser = argparse.ArgumentParser()
    shared['settings_arguments'](parser)
    return lambda *words: parser.parse_args(['--cfg-options', *words]).cfg_options


@pytest.mark.parametrize(
    ('word', 'expected'),
    [
        ('method=LoRA(rank=8,alpha=16)', 'LoRA(rank=8,alpha=16)'),
        ('method=LoRA(rank=8, targets=["q", "v"])', 'LoRA(rank=8, targets=["q", "v"])'),
        ('image_size=[240, 320]', [240, 320]),
        ('image_size=(240,320)', (240, 320)),
        ('image_size=240,320', [240, 320]),
        ('patience=None', None),
        ('lr=1e-3', 1e-3),
    ],
)
def test_values(options, word, expected):
    assert options(word) == {word.partition('=')[0]: expected}
