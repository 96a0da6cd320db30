"""Which config or tool makes each row and column of the papers' tables."""

from pathlib import Path

ROWS = {
    'domain specific': 'segformer',
    'SAM from scratch': 'from_scratch',
    'decoder only': 'decoder_only',
    'BitFit': 'bitfit',
    'Adapter': 'adapter',
    'VPT': 'vpt',
    'LST': 'lst',
    'SAM-Adapter': 'sam_adapter',
    'SSF': 'ssf',
    'LoRA': 'lora',
    'Conv-LoRA': 'convlora',
}
"""The Conv-LoRA paper's first table: folder by row."""
COLUMNS = {
    'Kvasir S, E': ('polyp', 'Kvasir/S', 'Kvasir/E_mean'),
    'CVC-612 S, E': ('polyp', 'CVC-612/S', 'CVC-612/E_mean'),
    'ISIC Jac, Dice': ('isic2017', 'IoU', 'Dice'),
    'CAMO S, E, Fw': ('camo', 'CAMO/S', 'CAMO/E_mean', 'CAMO/wF'),
    'SBU BER': ('sbu', 'BER'),
    'Leaf IoU, Dice': ('leaf', 'IoU', 'Dice'),
    'Road IoU, Dice': ('roads', 'IoU', 'Dice'),
}
"""Its columns: the data set of the configs, and what the test calls the results."""
TRANS10K = {
    'TransLab': 'translab',
    'Trans2Seg': 'trans2seg',
    'decoder only': 'decoder_only',
    'VPT': 'vpt',
    'LoRA': 'lora',
    'Conv-LoRA': 'convlora',
}
MULTI_TASK = {
    'TA-LoRA': 'talora',
    'LoRA-STL': 'lora_stl',
    'LoRA-HPS': 'lora_hps',
    'decoder only': 'decoder_only',
    'full fine-tuning': 'full',
    'MTLoRA': 'mtlora',
}
NETWORKS = ('segformer', 'deeplabv3plus', 'upernet', 'pspnet', 'hrnet', 'translab', 'trans2seg')
VARIANTS = ('b0', 'b2', 'r50', 'w18', 'swint')
"""Sizes of networks, at the end of their configs' names."""
TOOLS = {
    'M params / %': 'tools/analysis_tools/count_parameters.py',
    'means ± spread over runs, all tables': 'tools/analysis_tools/suite.py',
    'linear probing, MAE and SAM': 'tools/analysis_tools/linear_probe.py',
    'expert usage': 'tools/analysis_tools/expert_usage.py',
    'mean attention distance': 'tools/analysis_tools/attention_distance.py',
    'Fourier amplitude': 'tools/analysis_tools/fourier_amplitude.py',
    'predictions of several methods side by side': 'tools/analysis_tools/method_panels.py',
    "SAM's masks and mSAM's channels": 'tools/analysis_tools/mask_channels.py',
    'time and memory of a step': 'tools/analysis_tools/benchmark.py',
    'Delta_b against single-task baselines': 'tools/analysis_tools/single_task_baseline.py',
}
"""What is in tables and figures beside scores."""


def coverage_page(configs: Path) -> str:
    """docs/benchmarks.md: each row and column by its config or tool. What is not there says so."""
    lines = [
        '<!-- made by tools/analysis_tools/model_zoo.py -->',
        '# Benchmarks',
        '',
        "Each cell of the papers' tables is a config: `python tools/train.py CONFIG`, then "
        '`python tools/test.py CONFIG ADAPTER`. The tables as a whole: '
        '`tools/analysis_tools/suite.py`. Data sets: '
        '[prepare_datasets.md](prepare_datasets.md). SAM ViT-H, as in the paper: `--encoder '
        'sam_vit_h`.',
        '',
        '## Conv-LoRA (ICLR 2024), table 1',
        '',
        "What each column is in a test's results:",
        '',
        '| column | data set | results |',
        '|---|---|---|',
    ]
    for column, (data, *results) in COLUMNS.items():
        lines.append(f'| {column} | `{data}` | {", ".join(f"`{one}`" for one in results)} |')
    data = list(dict.fromkeys(data for data, *_ in COLUMNS.values()))
    lines += ['', *_table(configs, ROWS, data), '']
    lines += [
        "The paper's domain-specific models are a different one for each set; MMSegmentation's "
        'networks stand for them.',
        '',
        '## Trans10K-v2, table 2',
        '',
        "`aAcc`, `mIoU` and the IoU of each class are in the test's results.",
        '',
        *_table(configs, TRANS10K, ['trans10k']),
        '',
        '## Several tasks (TA-LoRA)',
        '',
        *_table(configs, MULTI_TASK, ['nyuv2', 'cityscapes', 'pascal_context']),
        '',
        '## Networks to compare with',
        '',
        *_table(
            configs,
            {name: name for name in NETWORKS},
            [*data, 'kvasir', 'camvid', 'trans10k', 'trans10k_v1'],
        ),
        '',
        '## Beside scores',
        '',
        '| what | tool |',
        '|---|---|',
    ]
    for what, tool in TOOLS.items():
        there = (configs.parent / tool).is_file()
        lines.append(f'| {what} | {f"`{tool}`" if there else "not there"} |')
    return '\n'.join([*lines, ''])


def _table(configs: Path, rows: dict[str, str], columns: list[str]) -> list[str]:
    lines = [f'| | {" | ".join(columns)} |', '|---' * (len(columns) + 1) + '|']
    for row, folder in rows.items():
        cells = [' '.join(_found(configs, folder, data)) or 'not there' for data in columns]
        lines.append(f'| {row} | {" | ".join(cells)} |')
    return lines


def cell(folder: str, name: str) -> tuple[str, str]:
    """The data set of a config, and the suite's name of its method."""
    data, _, variant = name.rpartition('_')
    return (data, f'{folder}_{variant}') if variant in VARIANTS else (name, folder)


def _found(configs: Path, folder: str, data: str) -> list[str]:
    """Links to the config, or to those of a network's sizes."""
    names = sorted(path.stem for path in (configs / folder).glob('*.py'))
    return [
        f'[{cell(folder, name)[1]}](../configs/{folder}/{name}.py)'
        for name in names
        if cell(folder, name)[0] == data
    ]
