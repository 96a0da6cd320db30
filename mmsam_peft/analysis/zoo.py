"""The model zoo's pages, made of the tree of configs, published scores and measured ones."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import yaml

from .coverage import cell, coverage_page
from .families import family
from .suite.published import PAPER, published

MADE = '<!-- made by tools/analysis_tools/model_zoo.py -->'
FACTS = 3
"""Columns of scores.csv before the scores: method, seeds, trained parameters."""
Scores = Mapping[tuple[str, str], Mapping[str, str]]
"""Scores as text, by (folder, config's data set) and the result's name."""


def write_zoo(root: Path) -> list[Path]:
    """Writes README.md and metafile.yaml into each folder of configs/, the model index and
    docs/benchmarks.md, where they are not so already; returns the files that changed."""
    pages, index = {}, []
    ours, theirs = measured(root / 'benchmarks/results/cells'), as_published()
    for folder in folders(root):
        configs = sorted(path.stem for path in folder.glob('*.py'))
        pages[folder / 'README.md'] = readme(folder.name, configs, theirs, ours)
        pages[folder / 'metafile.yaml'] = metafile(folder.name, configs, ours)
        index.append(f'configs/{folder.name}/metafile.yaml')
    pages[root / 'mmsam_peft/.mim/model-index.yml'] = yaml.safe_dump(dict(Import=index))
    pages[root / 'docs/benchmarks.md'] = coverage_page(root / 'configs')
    changed = [
        path
        for path, text in pages.items()
        if not path.exists() or path.read_text(encoding='utf-8') != text
    ]
    for path in changed:
        path.write_text(pages[path], encoding='utf-8')
    return changed


def folders(root: Path) -> list[Path]:
    return sorted(
        path
        for path in (root / 'configs').iterdir()
        if not path.name.startswith(('_', '.')) and any(path.glob('*.py'))
    )


def as_published() -> Scores:
    """The papers' numbers under the names that our tests give them."""
    scores = defaultdict(dict)
    for data, metrics in published().items():
        for metric, methods in metrics.items():
            for folder, (mean, deviation) in methods.items():
                spread = '' if deviation is None else f' ± {deviation}'
                scores[folder, data][metric] = f'{mean}{spread}'
    return scores


def measured(folder: Path) -> Scores:
    """Our numbers: tables of scores that the suite's collector wrote (scores.csv), of runs of
    configs of this tree.

    Raises:
        ValueError: A table is none of the collector's.
    """
    scores = defaultdict(dict)
    for path in sorted(folder.glob('*.csv')):
        with path.open(newline='', encoding='utf-8') as file:
            head, *rows = csv.reader(file)
        if head[:1] != ['method']:
            raise ValueError(f'{path}: got the columns {head}, expected those of scores.csv.')
        for row in rows:
            for column, value in list(zip(head, row, strict=True))[FACTS:]:
                data, _, metric = column.partition(' ')
                if value not in ('', '-') and not row[0].startswith('†') and metric:
                    scores[row[0], data][metric] = value
    return scores


def readme(folder: str, configs: list[str], theirs: Scores, ours: Scores) -> str:
    about = family(folder)
    first = min(configs, key=lambda name: cell(folder, name)[0] not in ('polyp', 'nyuv2'))
    lines = [MADE, f'# {about.title}', '']
    if about.what:
        lines += [about.what, '']
    if about.url:
        lines += [f'[{about.paper}]({about.url})', '']
    lines += ['```bash', f'python tools/train.py configs/{folder}/{first}.py', '```', '']
    rows, any_published, any_measured = [], False, False
    for name in configs:
        data, method = cell(folder, name)
        published_here, here = theirs.get((method, data), {}), ours.get((method, data), {})
        any_published |= bool(published_here)
        any_measured |= bool(here)
        rows.append(f'| [{name}]({name}.py) | {_listed(published_here)} | {_listed(here)} |')
    lines += ['| config | published † | ours |', '|---|---|---|', *rows, '']
    if any_published:
        lines += [f'† {PAPER}: not measured here.', '']
    if any_measured:
        lines += ['Ours: [benchmarks/results/cells](../../benchmarks/results/cells).', '']
    lines += ['Data sets: [docs/prepare_datasets.md](../../docs/prepare_datasets.md).', '']
    return '\n'.join(lines)


def metafile(folder: str, configs: list[str], ours: Scores) -> str:
    """OpenMMLab's form. Published numbers are of other programs' models, so they are not in it."""
    about, models = family(folder), []
    for name in configs:
        data, method = cell(folder, name)
        model = {
            'Name': f'{folder}_{name}',
            'In Collection': about.title,
            'Config': f'configs/{folder}/{name}.py',
            'Metadata': {'Training Data': data},
        }
        if scores := ours.get((method, data)):
            model['Results'] = [
                {'Task': 'Semantic Segmentation', 'Dataset': data, 'Metrics': dict(scores)}
            ]
        models.append(model)
    collection = {'Name': about.title, 'README': f'configs/{folder}/README.md'}
    if about.url:
        collection['Paper'] = {'Title': about.paper, 'URL': about.url}
    return yaml.safe_dump(
        dict(Collections=[collection], Models=models), sort_keys=False, allow_unicode=True
    )


def _listed(scores: Mapping[str, str]) -> str:
    return ', '.join(f'{name} {value}' for name, value in scores.items()) or '-'
