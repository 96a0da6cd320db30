"""The model zoo's pages."""

import shutil
from pathlib import Path

import pytest
import yaml

from mmsam_peft.analysis.coverage import COLUMNS, MULTI_TASK, ROWS, TRANS10K
from mmsam_peft.analysis.zoo import as_published, folders, measured, write_zoo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def copy(tmp_path_factory) -> Path:
    """The project's tree of configs, pages and tools."""
    root = tmp_path_factory.mktemp('project')
    for part in ('configs', 'docs', 'tools', 'benchmarks/results'):
        shutil.copytree(ROOT / part, root / part)
    (root / 'mmsam_peft/.mim').mkdir(parents=True)
    shutil.copy(ROOT / 'mmsam_peft/.mim/model-index.yml', root / 'mmsam_peft/.mim')
    return root


def test_pages_are_up_to_date(copy):
    """Else run tools/analysis_tools/model_zoo.py."""
    assert [str(path.relative_to(copy)) for path in write_zoo(copy)] == []


def test_every_row_and_column_has_its_config():
    """Of the Conv-LoRA paper's tables, and of the multi-task ones."""
    cells = [(folder, data) for folder in ROWS.values() for data, *_ in COLUMNS.values()]
    cells += [(folder, 'trans10k') for folder in TRANS10K.values() if 'trans' not in folder]
    cells += [
        (folder, data)
        for folder in MULTI_TASK.values()
        for data in ('nyuv2', 'cityscapes', 'pascal_context')
    ]
    for folder, data in cells:
        assert list((ROOT / 'configs' / folder).glob(f'{data}*.py')), (folder, data)


def test_published_numbers_stand_where_they_are_tested():
    scores = as_published()
    assert scores['convlora', 'polyp']['CVC-612/E_mean'] == '94.0 ± 0.78'
    assert scores['convlora', 'camo']['CAMO/wF'] == '84.0 ± 0.34'
    assert scores['translab', 'trans10k']['mIoU'] == '69.0'
    assert ('convlora', 'kvasir') not in scores  # trained on other images
    named = {result for _, *results in COLUMNS.values() for result in results}
    assert named <= {result for found in scores.values() for result in found}


def test_measured_numbers_come_from_the_collector(copy, tmp_path):
    table = copy / 'benchmarks/results/cells/mine.csv'
    table.parent.mkdir(exist_ok=True)
    table.write_text(
        'method,seeds,trained parameters,kvasir S,polyp Kvasir/S\n'
        'lora,2,100,81.5 ± 0.2,-\n"† lora, published",,,91.2,91.2\n'
    )
    assert measured(table.parent) == {('lora', 'kvasir'): {'S': '81.5 ± 0.2'}}
    changed = {path.relative_to(copy).as_posix() for path in write_zoo(copy)}
    assert changed == {'configs/lora/README.md', 'configs/lora/metafile.yaml'}
    page = (copy / 'configs/lora/README.md').read_text()
    assert '| [kvasir](kvasir.py) | - | S 81.5 ± 0.2 |' in page
    table.write_text('name,Dice\nlora,1\n')
    with pytest.raises(ValueError, match='expected those of scores.csv'):
        measured(table.parent)
    table.unlink()
    write_zoo(copy)


def test_the_index_names_every_config():
    index = yaml.safe_load((ROOT / 'mmsam_peft/.mim/model-index.yml').read_text())
    configs = set()
    for file in index['Import']:
        assert (ROOT / 'mmsam_peft/.mim' / file).is_file()
        models = yaml.safe_load((ROOT / file).read_text())['Models']
        configs |= {model['Config'] for model in models}
    there = {
        f'configs/{path.parent.name}/{path.name}'
        for folder in folders(ROOT)
        for path in folder.glob('*.py')
    }
    assert configs == there
