"""Errors for lack of memory say what to do."""

import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmsam_peft.apis.out_of_memory import advice, advice_on_memory, is_out_of_memory
from mmsam_peft.apis.training import train
from mmsam_peft.models.segmentors import PEFTSegmentor

CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.'),
        CPU,
        RuntimeError('DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.'),
        RuntimeError('cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`'),
        MemoryError(),
    ],
)
def test_the_error_stays_what_it_is_and_ends_with_the_command(error):
    said = str(error)
    with pytest.raises(type(error)) as found, advice_on_memory(['gone.py', 'configs/a b.py'], True):
        raise error
    text = str(found.value)
    assert text.startswith(said)
    assert "python tools/analysis_tools/fit.py 'configs/a b.py' --memory " in text
    assert ' --device cpu --amp\n' in text or torch.cuda.is_available()


def test_numpys_error_that_has_a_text_of_its_own():
    with (
        pytest.raises(MemoryError, match=r'Unable to allocate(.|\n)*fit.py'),
        advice_on_memory(['c']),
    ):
        np.empty(2**60, np.uint8)


def test_a_device_that_answers_nothing_hides_no_error(monkeypatch):
    def broken(*_):
        raise RuntimeError('CUDA error: unknown error')

    monkeypatch.setattr('mmsam_peft.apis.out_of_memory._of_machine', broken)
    monkeypatch.setattr('mmsam_peft.apis.out_of_memory._of_gpu', broken)
    with pytest.raises(RuntimeError, match=r'allocate memory(.|\n)*--memory 8G'):
        with advice_on_memory(['c.py']):
            raise RuntimeError(CPU.args[0])


@pytest.mark.parametrize(
    ('kind', 'said', 'rank'),
    [(RuntimeError, CPU.args[0], 0), (torch.OutOfMemoryError, 'CUDA out of memory.', 1)],
    ids=['first', 'second process'],
)
def test_a_training_ends_with_it(tiny, tmp_path, monkeypatch, kind, said, rank):
    for split in ('train', 'val'):
        for folder in ('img_dir', 'ann_dir'):
            (tmp_path / folder / split).mkdir(parents=True)
            values = np.arange(64 * 64).reshape(64, 64) % 2
            values = values if folder == 'ann_dir' else np.stack([values] * 3, -1) * 200
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / folder / split / '0.png')

    def does_not_fit(*_, **__):
        raise kind(said)

    monkeypatch.setenv('RANK', str(rank))
    # formatting it takes most of the time
    monkeypatch.setattr(Config, 'pretty_text', property(str))
    monkeypatch.setattr(PEFTSegmentor, 'loss', does_not_fit)
    cfg = tiny({'visualizer.name': f'memory_{rank}', 'experiment_name': f'memory_{rank}'})
    cfg.launcher = 'none'
    with pytest.raises(kind) as found:
        train(cfg, 'configs/mine.py', changed=True)
    assert str(found.value).startswith(f'{said}\n')
    assert f'fit.py {cfg.work_dir}/tiny.py --memory' in str(found.value)
    assert 'does_not_fit' in ''.join(traceback.format_tb(found.value.__traceback__))


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError) as found, advice_on_memory(['c.py']):
        raise RuntimeError('shapes differ')
    assert str(found.value) == 'shapes differ' and not is_out_of_memory(KeyError('memory'))


def test_the_command_is_called_as_the_tool_that_runs(monkeypatch):
    tools = Path(__file__).parents[2] / 'tools'
    monkeypatch.setattr('sys.argv', [str(tools / 'train.py')])
    assert f'python {tools.as_posix()}/analysis_tools/fit.py c.py' in advice('c.py')
