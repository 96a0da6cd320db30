from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / 'configs'
TOOL = 'analysis_tools/count_parameters.py'


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.endswith('%')}


@pytest.mark.slow
def test_conv_lora_on_vit_h(start):
    """The published counts: Conv-LoRA, arXiv 2401.17868."""
    table = rows(
        start(
            TOOL, CONFIGS / 'convlora/kvasir.py', '--cfg-options', 'model.backbone.arch=huge'
        ).stdout
    )
    assert table['decode_head'][0] == '3,505,536'
    assert table['backbone'][0] == f'{32 * 15360 + 21504 + 1536:,}'
    assert table['total'] == ['4,020,096', '641,046,400', '0.63%']


@pytest.mark.parametrize(
    'config, options, trained',
    [
        ('convlora/kvasir.py', [], 3624768),
        ('convlora/kvasir.py', ['model.backbone.arch=large'], 3817728),
        ('lora/kvasir.py', [], 3616128),
        ('lora/kvasir.py', ['model.backbone.peft.rank=6'], 3616128 + 12 * 3 * (768 + 3 * 768)),
        ('decoder_only/kvasir.py', [], 3505536),
        (
            'decoder_only/kvasir.py',
            ['model.backbone.unfreeze=[neck]'],
            3505536 + 256 * (768 + 9 * 256) + 4 * 256,
        ),
    ],
)
def test_trained_in_total(call, capsys, config, options, trained):
    call(TOOL, CONFIGS / config, *(['--cfg-options', *options] if options else []))
    assert rows(capsys.readouterr().out)['total'][0] == f'{trained:,}'
