"""Two processes on a CPU, talking through gloo, started by the shell scripts, directly and under a
make-believe Slurm."""

import os
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from safetensors.torch import load_file

from mmsam_peft.apis.launch import build_runner, load_config

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / 'configs'

# srun: starts the task on each of the nodes asked for, which here are processes of one machine
SRUN = """#!/usr/bin/env bash
echo "$@" >> "$SRUN_LOG"
while [[ $1 == -* ]]; do
    [[ $1 == --nodes=* ]] && export SLURM_NNODES=${1#--nodes=}
    [[ $1 == -p ]] && shift
    shift
done
for ((node = 0; node < SLURM_NNODES; node++)); do SLURM_NODEID=$node "$@" & done
status=0
for job in $(jobs -p); do wait "$job" || status=$?; done
exit $status
"""
SCONTROL = """#!/usr/bin/env bash
[ "$*" = 'show hostnames node[1-2]' ] && echo localhost && echo node2
"""


@pytest.fixture
def slurm(tmp_path, port) -> dict[str, str]:
    """Variables by which the scripts find srun and scontrol, and what these would set."""
    for name, script in dict(srun=SRUN, scontrol=SCONTROL).items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    path = f'{tmp_path}:{Path(sys.executable).parent}:{os.environ["PATH"]}'
    return dict(
        PATH=path,
        PORT=port,
        SRUN_LOG=str(tmp_path / 'srun.log'),
        SLURM_JOB_NODELIST='node[1-2]',
        SLURM_JOB_ID='7',
    )


def lines(log: str, what: str) -> list[str]:
    return [line for line in log.splitlines() if what in line]


def test_train(start, scores, config, tmp_path, slurm):
    """slurm_train.sh runs dist_train.sh on its one node, with two processes."""
    options = [
        '--work-dir',
        tmp_path / 'run',
        '--cfg-options',
        'train_cfg.max_epochs=1',
    ]
    log = start(
        'slurm_train.sh', 'gpu', 'job', config, *options, GPUS='2', SRUN_ARGS='--mem=1G', **slurm
    ).stdout
    steps = lines(log, 'Epoch(train)')  # 4 images, 2 processes; one of them prints
    assert len(steps) == 2 and '[1][1/2]' in steps[0] and '[1][2/2]' in steps[1]
    assert len(lines(log, 'adapter    ')) == 1
    assert 0 < scores(log)['Dice'] < 100
    assert load_file(tmp_path / 'run/adapter_last.safetensors')
    dumped = (tmp_path / 'run/tiny.py').read_text()
    assert 'MMDistributedDataParallel' in dumped and 'find_unused_parameters' not in dumped
    assert (
        (tmp_path / 'srun.log')
        .read_text()
        .startswith(
            '-p gpu --job-name=job --nodes=1 --ntasks-per-node=1 --gres=gpu:2 --cpus-per-task=10 '
            '--kill-on-bad-exit=1 --mem=1G '
        )
    )


def test_two_nodes_score_as_one_process(start, scores, adapter, tested, config, tmp_path, slurm):
    """slurm_test.sh runs dist_test.sh on each node; they meet at the host that scontrol names
    first."""
    arguments = [
        config,
        adapter,
        '--work-dir',
        tmp_path / 'run',
        '--out',
        tmp_path / 'masks',
    ]
    log = start(
        'slurm_test.sh', 'gpu', 'job', *arguments, GPUS='2', GPUS_PER_NODE='1', **slurm
    ).stdout
    assert scores(log) == scores(tested[1])
    for path in (tested[0] / 'masks').iterdir():
        assert path.read_bytes() == (tmp_path / 'masks' / path.name).read_bytes()
    assert (
        '--nodes=2 --ntasks-per-node=1 --gres=gpu:1 --cpus-per-task=5'
        in (tmp_path / 'srun.log').read_text()
    )


def test_error_ends_what_is_printed(start, config, tmp_path, port):
    done = start(
        'dist_test.sh',
        config,
        'nothing.safetensors',
        2,
        '--work-dir',
        tmp_path / 'run',
        check=False,
        PORT=port,
    )
    assert done.returncode == 1
    assert re.search(
        'FileNotFoundError: There is no file nothing.safetensors; .*\n *\n=+$', done.stderr.rstrip()
    )


def test_batch_norm_of_other_models_runs_on_cpus(monkeypatch, tmp_path, port):
    for name, value in dict(
        RANK='0', WORLD_SIZE='1', LOCAL_RANK='0', MASTER_ADDR='localhost', MASTER_PORT=port
    ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(
        'TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1'
    )  # build_runner sets it; this takes it back
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = load_config(
        str(CONFIGS / 'segformer/kvasir_b0.py'),
        {'model.backbone.init_cfg': None},
        str(tmp_path),
        'pytorch',
    )
    try:
        model = build_runner(cfg).model.train()
        samples = [
            SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 64, 64, dtype=torch.long)))
        ] * 2
        losses = model(torch.randn(2, 3, 64, 64), samples, mode='loss')
        sum(value for key, value in losses.items() if 'loss' in key).backward()
    finally:
        torch.distributed.destroy_process_group()
    norm = model.module.decode_head.fusion_conv.bn
    assert not isinstance(norm, torch.nn.SyncBatchNorm) and norm.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    'script, arguments',
    [
        ('dist_train.sh', 'CONFIG GPUS'),
        ('dist_test.sh', 'CONFIG WEIGHTS GPUS'),
        ('slurm_train.sh', 'PARTITION JOB_NAME CONFIG'),
        ('slurm_test.sh', 'PARTITION JOB_NAME CONFIG WEIGHTS'),
    ],
)
def test_missing_arguments_print_the_usage(start, script, arguments):
    done = start(script, check=False)
    assert done.returncode == 2 and done.stderr.startswith(
        f'bash tools/{script} {arguments} [arguments of '
    )


def test_uneven_nodes(start):
    done = start('slurm_train.sh', 'gpu', 'job', 'config.py', check=False, GPUS='12')
    assert done.returncode == 2 and 'GPUS=12 is no multiple of GPUS_PER_NODE=8' in done.stderr
