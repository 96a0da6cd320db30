"""Errors for lack of memory say what to do."""

from pathlib import Path

import pytest
import torch

from mmsam_peft.apis.out_of_memory import advice, advice_on_memory, is_out_of_memory


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.'),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError('DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.'),
        RuntimeError('cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`'),
        MemoryError(),
    ],
)
def test_the_error_stays_what_it_is_and_ends_with_the_command(error):
    said = str(error)
    with pytest.raises(type(error)) as found, advice_on_memory('configs/a b.py', amp=True):
        raise error
    text = str(found.value)
    assert text.startswith(said)
    assert "python tools/analysis_tools/fit.py 'configs/a b.py' --memory 8G --amp\n" in text


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError) as found, advice_on_memory('c.py'):
        raise RuntimeError('shapes differ')
    assert str(found.value) == 'shapes differ' and not is_out_of_memory(KeyError('memory'))


def test_the_command_is_called_as_the_tool_that_runs(monkeypatch):
    tools = Path(__file__).parents[2] / 'tools'
    monkeypatch.setattr('sys.argv', [str(tools / 'train.py')])
    assert f'python {tools.as_posix()}/analysis_tools/fit.py c.py' in advice('c.py')
