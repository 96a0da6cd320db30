from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

from mmsam_peft.analysis import matrix
from mmsam_peft.analysis.matrix import hosts_of, known_hosts, method_table
from mmsam_peft.registry import PEFT

PAGE = Path(__file__).parents[2] / 'docs/methods.md'


def test_the_page_has_the_table():
    assert method_table(known_hosts()) in PAGE.read_text()


def test_without_transformers_the_others_are_listed(monkeypatch):
    monkeypatch.setattr(matrix.importlib.util, 'find_spec', lambda name: None)
    assert not any('Hugging Face' in name or 'HFViT' in name for name in known_hosts())
    assert {'SAMViT', 'Hiera', "SAM's mask decoder"} < known_hosts().keys()


@pytest.mark.parametrize(
    'head, hosts',
    [(dict(type='SAMMaskHead', in_channels=32, num_heads=2), 2), (dict(type='FCNHead'), 1)],
)
def test_hosts_of_a_config(head, hosts):
    arch = dict(embed_dim=32, depth=2, num_heads=2, global_attn_indexes=(1,))
    backbone = dict(
        type='SAMViT', arch=arch, img_size=64, peft=dict(type='VPT'), unfreeze=('neck',)
    )
    with DefaultScope.overwrite_default_scope('mmsam_peft'):
        table = method_table(hosts_of(dict(backbone=backbone, decode_head=head))).splitlines()
    assert table[0].startswith('| method | SAMViT |') and table[0].count('|') == 2 + hosts
    assert len(table) == 2 + len(PEFT.module_dict)
    if hosts == 2:
        assert '| VPT | works | needs an attention that takes extra tokens |' in table
